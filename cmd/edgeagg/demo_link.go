package main

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// link is the wire between edgeagg and the broker: it forwards TCP
// connections, and can be cut.
type link struct {
	addr string
	ln   net.Listener
	to   string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func openLink(to string) (*link, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	l := &link{addr: ln.Addr().String(), ln: ln, to: to, conns: make(map[net.Conn]bool)}
	go l.accept()
	return l, nil
}

func (l *link) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		go l.forward(c)
	}
}

func (l *link) forward(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer far.Close()
	if !l.hold(near, far) {
		return
	}
	defer l.release(near, far)
	go func() {
		_, _ = io.Copy(far, near)
		far.Close()
	}()
	_, _ = io.Copy(near, far)
}

// hold remembers the two ends of a connection, unless the link is cut.
func (l *link) hold(near, far net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return false
	}
	l.conns[near], l.conns[far] = true, true
	return true
}

func (l *link) release(near, far net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, near)
	delete(l.conns, far)
}

// cut ends all connections and takes no new ones.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.conns {
		c.Close()
	}
}

func (l *link) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

func (l *link) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

func (l *link) close() {
	l.cut()
	l.ln.Close()
}
