package uplink

import (
	"context"
	"errors"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgeagg/internal/record"
)

// errAsleep ends a connection between far windows.
var errAsleep = errors.New("asleep until the next window")

// goodbye bounds what a stop waits for the broker.
const goodbye = 1500 * time.Millisecond

// serve does what concerns the present moment over one connection, until it is
// lost or ctx ends.
func (u *Uplink) serve(ctx context.Context, c *conn) error {
	hello := c.Publish(u.topic("availability"), 1, true, "online")
	if err := u.commands.listen(ctx, u, c); err != nil {
		return err
	}
	for _, s := range u.o.Sources {
		c.Publish(u.topic("meta/"+s.Name()), 1, true, s.Meta(nil))
	}
	u.discover(c)
	if u.due.Swap(false) {
		go u.Drain(ctx)
	}
	u.publishStatus(c)
	status := time.NewTicker(u.o.Config.Status)
	defer status.Stop()
	live := time.NewTicker(max(u.o.Config.Live, time.Millisecond))
	defer live.Stop()
	if u.o.Config.Live == 0 {
		live.Stop()
	}
	l := lives{at: make([]uint64, len(u.o.Sources))}
	l.publish(u, c)
	watch := time.NewTicker(time.Second)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			u.leave(c, "stopped")
			return ctx.Err()
		case <-c.lost:
			return c.why
		case <-u.sleep:
			if u.far() {
				u.leave(c, "asleep")
				return errAsleep
			}
		case <-status.C:
			u.publishStatus(c)
		case <-live.C:
			l.publish(u, c)
		case m := <-u.commands.queue:
			u.commands.answer(u, c, m)
		case <-watch.C:
			if u.day.spent(time.Now(), u.o.Config.MaxBytesDay) > 0 {
				u.leave(c, "asleep")
				return errors.New("max_bytes_day is used up")
			}
			select {
			case <-hello.Done():
			default:
				if time.Since(time.UnixMicro(c.acked.Load())) > ackTimeout {
					return errors.New("the broker acknowledges nothing")
				}
			}
		}
	}
}

// leave says the last word on a connection, and closes it in order, so that
// the last will is not sent.
func (u *Uplink) leave(c *conn, word string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := c.Publish(u.topic("availability"), 1, true, word)
		if t.WaitTimeout(goodbye) && t.Error() == nil {
			c.Disconnect(100)
		}
	}()
	select {
	case <-done:
	case <-c.lost:
	case <-time.After(goodbye + 200*time.Millisecond):
	}
}

func (u *Uplink) publishStatus(c *conn) {
	c.Publish(u.topic("status"), 1, true, u.o.Status(nil))
}

// lives publishes the newest reading of each source that has a new one.
type lives struct {
	at []uint64
	p  []byte
	d  record.Decoder
	r  record.Record
}

func (l *lives) publish(u *Uplink, c mqtt.Client) {
	if u.o.Config.Live == 0 || !within(u.o.Config.Between, time.Now()) {
		return
	}
	for i, s := range u.o.Sources {
		p, n := s.Newest(l.p[:0])
		l.p = p
		if n == l.at[i] || len(p) == 0 {
			continue
		}
		l.at[i] = n
		if err := l.d.Decode(p, &l.r); err != nil {
			u.log.Error("live value", "source", s.Name(), "err", err)
			continue
		}
		// The client keeps the payload until it is on the wire.
		c.Publish(u.topic("live/"+s.Name()), 0, true, record.AppendJSON(nil, &l.r))
	}
}
