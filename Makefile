# SPDX-License-Identifier: Apache-2.0

PREFIX ?= /usr/local
SBIN = $(DESTDIR)$(PREFIX)/sbin

.PHONY: all generate test lab bench guest hunt instructions check install

all:
	CGO_ENABLED=0 go build -trimpath -o lvsx ./cmd/lvsx

# Compiles bpf/ anew; needs clang-19 and llvm-19. The result is committed.
generate:
	go generate ./...

test:
	go test ./...

lab:
	go run ./cmd/lvsx lab

bench:
	go run ./cmd/lvsx bench

# The packet tests on another kernel; by a command in GUEST, see CONTRIBUTING.md.
guest:
	.ci/guest

# What packets are made up in tests, with other dice each time, until one goes wrong.
hunt: RUN ?= Differential|Sequences|Mutated|Forged
hunt:
	while LVSX_SEED=random go test -count=1 -timeout 1h -run '$(RUN)' ./internal/dataplane ./internal/decap; do :; done; exit 1

# Instructions a packet, ours and the kernel's; by a command in GUEST, see docs/performance.md.
instructions: all
	$(GUEST) "$(CURDIR)/lvsx bench path"

# What CI does, as root; installs what it needs on Debian.
check:
	.ci/run

install: all
	install -D -m 0755 lvsx $(SBIN)/lvsx
	for name in ipvsadm ipvsadm-save ipvsadm-restore; do ln -sf lvsx $(SBIN)/$$name; done
