// SPDX-License-Identifier: Apache-2.0

package ipvs

// Timeouts are how long idle connections are remembered, in seconds: TCP ones
// that are established, TCP ones that one side has closed (FIN_WAIT), and UDP
// flows. To set one to zero leaves it as it is.
type Timeouts struct {
	TCP    uint32 `json:"tcp"`
	TCPFin uint32 `json:"tcpFin"`
	UDP    uint32 `json:"udp"`
}
