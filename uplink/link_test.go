package uplink

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// link is a way to the broker that can be made to misbehave.
type link struct {
	to       string
	l        net.Listener
	accepted atomic.Int64 // connections
	answered atomic.Int64 // pieces of the broker's that got through

	swallow   atomic.Bool  // the broker's answers vanish
	blackhole atomic.Bool  // nothing gets through either way, and nobody is told
	stuck     atomic.Bool  // nothing more is read from the board
	down      atomic.Bool  // new connections are closed at once
	cutAfter  atomic.Int64 // bytes towards the broker, then the link breaks; 0: never
	rate      atomic.Int64 // bytes/s each way; 0: as fast as it goes
	poison    atomic.Pointer[[]byte]

	over  chan struct{} // closed when the test ends
	mu    sync.Mutex
	pairs map[net.Conn]net.Conn
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{to: to, l: l, over: make(chan struct{}), pairs: make(map[net.Conn]net.Conn)}
	go k.accept()
	t.Cleanup(func() {
		l.Close()
		close(k.over)
		k.cut()
	})
	return k
}

func (k *link) url() string { return "mqtt://" + k.l.Addr().String() }

func (k *link) accept() {
	for {
		near, err := k.l.Accept()
		if err != nil {
			return
		}
		k.accepted.Add(1)
		far, err := net.Dial("tcp", k.to)
		if err != nil || k.down.Load() {
			near.Close()
			if err == nil {
				far.Close()
			}
			continue
		}
		k.mu.Lock()
		k.pairs[near] = far
		k.mu.Unlock()
		go k.carry(near, far, true)
		go k.carry(far, near, false)
	}
}

// carry moves bytes, in small pieces so that a cut falls into messages.
func (k *link) carry(from, to net.Conn, up bool) {
	defer from.Close()
	defer to.Close()
	p := make([]byte, 1024)
	for {
		if up && k.stuck.Load() {
			<-k.over
		}
		n, err := from.Read(p)
		if err != nil {
			return
		}
		if k.blackhole.Load() || !up && k.swallow.Load() {
			continue
		}
		if bad := k.poison.Load(); up && bad != nil && bytes.Contains(p[:n], *bad) {
			k.cut()
			return
		}
		if up && k.cutAfter.Load() > 0 && k.cutAfter.Add(int64(-n)) <= 0 {
			_, _ = to.Write(p[:n/2])
			k.cutAfter.Store(0)
			k.cut()
			return
		}
		if rate := k.rate.Load(); rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate)) // the pace of the line that is played
		}
		if _, err := to.Write(p[:n]); err != nil {
			return
		}
		if !up {
			k.answered.Add(1)
		}
	}
}

// cut resets every connection.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for near, far := range k.pairs {
		_ = near.(*net.TCPConn).SetLinger(0)
		near.Close()
		far.Close()
	}
	clear(k.pairs)
}
