package uplink

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

var (
	errNoAck  = errors.New("the broker acknowledges nothing")
	errSilent = errors.New("nothing comes from the broker any more")
	errClosed = errors.New("closed")
)

// message is one publish. Its sender must leave the payload alone until done.
type message struct {
	topic    string
	qos      byte
	retained bool
	payload  []byte
	last     bool // a goodbye, which is sent when the day is over too

	sent time.Time     // when it was handed to the kernel's side; valid after done
	took time.Duration // from there to the acknowledgement
	done chan struct{} // closed on acknowledgement, with QoS 1; never on loss
}

// conn is one connection to a broker, used once.
//
// The MQTT client's calls block for as long as a dead line lets them. So one
// goroutine of the connection's own makes them (pump), and another one waits
// for the acknowledgements (collect); everybody else waits with a select.
type conn struct {
	client mqtt.Client
	raw    atomic.Pointer[counted]

	lost    chan struct{} // closed once it is gone
	spent   chan struct{} // closed once the day takes no more
	greeted chan struct{} // closed once the broker has acknowledged something
	once    sync.Once
	why     error // why it is gone; valid after lost

	urgent  chan *message // what concerns the present
	history chan *message // one at a time, behind everything urgent
	order   chan waiting  // of the publishes on the wire, with QoS 1

	ackTimeout time.Duration
	read       atomic.Int64 // when something came from the broker, µs since 1970
	rtt        atomic.Int64 // ns, of the first acknowledgement; 0: none came yet
}

// waiting is a message on the wire.
type waiting struct {
	m     *message
	token mqtt.Token
}

func newConn(ackTimeout time.Duration) *conn {
	return &conn{
		lost: make(chan struct{}), greeted: make(chan struct{}), spent: make(chan struct{}),
		urgent: make(chan *message, 32), history: make(chan *message), order: make(chan waiting, 64),
		ackTimeout: ackTimeout,
	}
}

// end notes why the connection is over, and cuts it.
func (c *conn) end(err error) {
	c.once.Do(func() {
		c.why = err
		close(c.lost)
		if raw := c.raw.Load(); raw != nil {
			raw.Close() // lets go who is blocked in a write
		}
	})
}

// close gives everything back at once, without a goodbye.
func (c *conn) close() {
	c.end(errClosed)
	c.client.Disconnect(0)
}

// say queues what concerns the present moment. It blocks while the line is
// full.
func (c *conn) say(ctx context.Context, m *message) error {
	return c.hand(ctx, c.urgent, m)
}

func (c *conn) hand(ctx context.Context, to chan<- *message, m *message) error {
	if m.qos > 0 {
		m.done = make(chan struct{})
	}
	select {
	case to <- m:
		return nil
	case <-c.lost:
		return c.why
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pump makes all publishes of the connection, in their order, as long as the
// day takes them.
func (c *conn) pump(d *day) {
	spent := false
	for {
		var m *message
		beside := true // history, whose sender keeps to what the day has left
		select {
		case m = <-c.urgent:
		default:
			select {
			case m = <-c.urgent:
			case m = <-c.history:
				beside = false
			case <-c.lost:
				return
			}
		}
		begin := time.Now()
		if beside && !m.last && !d.takes(len(m.topic)+len(m.payload)+around) {
			if d.over() > 0 && !spent {
				spent = true
				close(c.spent)
			}
			continue
		}
		t := c.client.Publish(m.topic, m.qos, m.retained, m.payload)
		if m.qos == 0 {
			continue
		}
		m.sent = begin
		select {
		case c.order <- waiting{m, t}:
		case <-c.lost:
			return
		}
	}
}

// collect waits for the acknowledgements, which come in the order of the
// publishes (MQTT 3.1.1, section 4.6). None for ackTimeout, counted from the
// last one, ends the connection.
func (c *conn) collect() {
	t := time.NewTimer(0)
	defer t.Stop()
	var last time.Time
	for {
		var w waiting
		select {
		case w = <-c.order:
		case <-c.lost:
			return
		}
		if last.Before(w.m.sent) {
			last = w.m.sent
		}
		t.Reset(time.Until(last.Add(c.ackTimeout)))
		select {
		case <-w.token.Done():
		case <-c.lost:
		case <-t.C:
			c.end(errNoAck)
		}
		if c.note(&w) {
			last = time.Now()
			continue
		}
		// It failed, so the connection is gone; the client says why a moment later.
		t.Reset(time.Second)
		select {
		case <-c.lost:
		case <-t.C:
			c.end(w.token.Error())
		}
		return
	}
}

// note marks a message that has been acknowledged.
func (c *conn) note(w *waiting) bool {
	select {
	case <-w.token.Done():
	default:
		return false
	}
	if w.token.Error() != nil {
		return false
	}
	w.m.took = time.Since(w.m.sent)
	if c.rtt.CompareAndSwap(0, max(1, int64(w.m.took))) {
		close(c.greeted)
	}
	close(w.m.done)
	return true
}

// quiet is for how long nothing has come from the broker.
func (c *conn) quiet() time.Duration { return time.Since(time.UnixMicro(c.read.Load())) }

// closedByPeer reports whether the broker ended the connection, rather than
// this side, the line or a timeout.
func closedByPeer(err error) bool {
	if err == nil || errors.Is(err, errNoAck) || errors.Is(err, errSilent) || errors.Is(err, errClosed) ||
		errors.Is(err, errAsleep) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return false
	}
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return false
	}
	for _, line := range []error{syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN} {
		if errors.Is(err, line) {
			return false
		}
	}
	return true
}

// wire puts nc under the connection's and the day's books.
func (c *conn) wire(nc net.Conn, d *day) net.Conn {
	w := &counted{Conn: nc, day: d, read: &c.read}
	c.raw.Store(w)
	return w
}

// counted counts what goes out, and notes when something comes in.
type counted struct {
	net.Conn
	day  *day
	read *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.day.add(int64(len(p))) // first: an answer can be quicker than the return of the call
	n, err := c.Conn.Write(p)
	c.day.add(int64(n - len(p)))
	return n, err
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.read.Store(time.Now().UnixMicro())
	}
	return n, err
}
