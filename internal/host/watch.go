// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
)

// Watch calls changed after links, addresses, routes or neighbours changed, and
// once at the start, until the context ends. Changes during a call lead to
// one more. It is the network of the calling thread that is watched; changed
// runs on that thread.
func Watch(ctx context.Context, changed func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		// The kernel ends a subscription that is not read fast enough. What was
		// missed is made up by looking at everything.
		if err := watchOnce(ctx, changed); err != nil {
			return err
		}
	}
	return nil
}

func watchOnce(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := make(chan struct{}, 1)
	ended := make(chan struct{}, 4)
	for _, subscribe := range []func(<-chan struct{}, func(), func()) error{
		watchLinks, watchAddresses, watchRoutes, watchNeighbours,
	} {
		tell := func() {
			select {
			case news <- struct{}{}:
			default:
			}
		}
		if err := subscribe(ctx.Done(), tell, func() { ended <- struct{}{} }); err != nil {
			return fmt.Errorf("watch the network: %w", err)
		}
	}
	for {
		changed()
		select {
		case <-news:
		case <-ended:
			return nil
		}
	}
}

func watchLinks(done <-chan struct{}, tell, ended func()) error {
	updates := make(chan netlink.LinkUpdate)
	go relay(updates, tell, ended)
	return netlink.LinkSubscribe(updates, done)
}

func watchAddresses(done <-chan struct{}, tell, ended func()) error {
	updates := make(chan netlink.AddrUpdate)
	go relay(updates, tell, ended)
	return netlink.AddrSubscribe(updates, done)
}

func watchRoutes(done <-chan struct{}, tell, ended func()) error {
	updates := make(chan netlink.RouteUpdate)
	go relay(updates, tell, ended)
	return netlink.RouteSubscribe(updates, done)
}

func watchNeighbours(done <-chan struct{}, tell, ended func()) error {
	updates := make(chan netlink.NeighUpdate)
	go relay(updates, tell, ended)
	return netlink.NeighSubscribe(updates, done)
}

// relay turns updates into news until netlink closes the channel.
func relay[T any](updates <-chan T, tell, ended func()) {
	defer ended()
	for range updates {
		tell()
	}
}
