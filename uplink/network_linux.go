package uplink

import (
	"context"
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// watchNetwork signals comes whenever an address or a route appears, until ctx
// ends (rtnetlink(7)). Where the kernel does not tell, the back-off has to do.
func watchNetwork(ctx context.Context, comes chan<- struct{}) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return
	}
	groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return
	}
	f := os.NewFile(uintptr(fd), "netlink")
	defer context.AfterFunc(ctx, func() { f.Close() })()
	defer f.Close()
	p := make([]byte, 8<<10)
	for {
		n, err := f.Read(p)
		switch {
		case errors.Is(err, unix.ENOBUFS): // more came than was read
		case err != nil:
			return
		case !appears(p[:n]):
			continue
		}
		select {
		case comes <- struct{}{}:
		default:
		}
	}
}

// appears reports whether one of the messages in p says that something is new.
func appears(p []byte) bool {
	for len(p) >= unix.SizeofNlMsghdr {
		size := binary.NativeEndian.Uint32(p)
		switch binary.NativeEndian.Uint16(p[4:]) {
		case unix.RTM_NEWADDR, unix.RTM_NEWROUTE:
			return true
		}
		size = (size + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
		if size < unix.SizeofNlMsghdr || int(size) > len(p) {
			return false
		}
		p = p[size:]
	}
	return false
}
