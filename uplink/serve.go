package uplink

import (
	"context"
	"errors"
	"time"
)

var (
	// errAsleep ends a connection between far windows.
	errAsleep = errors.New("asleep until the next window")
	// errSpent ends a connection, and says why there is none.
	errSpent = errors.New("max_bytes_day is used up")
)

const (
	// goodbye bounds what a stop waits for the broker.
	goodbye = 1500 * time.Millisecond
	// look is how often is looked at what no event tells.
	look = time.Second
)

// serve does what concerns the present moment over one connection, until it is
// lost or ctx ends.
func (u *Uplink) serve(ctx context.Context, c *conn) error {
	select {
	case <-u.sleep: // meant for an earlier connection
	default:
	}
	hello := &message{topic: u.topic("availability"), qos: 1, retained: true, payload: []byte("online")}
	_ = c.say(ctx, hello) // what ends it ends the loop too
	if err := u.commands.listen(ctx, u, c); err != nil {
		return err
	}
	announced := u.announce(ctx, c, false)
	u.publishStatus(ctx, c)
	u.lives.publish(u, c)
	if u.due.Swap(false) {
		u.background.Go(func() { u.resume(ctx) })
	}
	status := time.NewTicker(u.o.Config.Status)
	defer status.Stop()
	live := time.NewTicker(max(u.o.Config.Live, time.Millisecond))
	defer live.Stop()
	if u.o.Config.Live == 0 {
		live.Stop()
	}
	watch := time.NewTicker(look)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			u.leave(c, "stopped")
			return ctx.Err()
		case <-c.lost:
			return c.why
		case <-u.sleep:
			if u.far() && ctx.Err() == nil {
				u.leave(c, "asleep")
				return errAsleep
			}
		case <-c.spent:
			u.leave(c, "asleep")
			return errSpent
		case <-status.C:
			u.publishStatus(ctx, c)
		case <-live.C:
			u.lives.publish(u, c)
		case m := <-u.commands.queue:
			u.commands.answer(ctx, u, c, m)
		case <-watch.C:
			if u.day.over() > 0 { // pings alone can do that
				u.leave(c, "asleep")
				return errSpent
			}
			if c.quiet() > u.silence() {
				return errSilent
			}
			announced = u.announce(ctx, c, announced)
		}
	}
}

// announce publishes what describes the sources, once a connection, and not
// outside the hours in which history may go.
func (u *Uplink) announce(ctx context.Context, c *conn, done bool) bool {
	if done || !u.inHours() {
		return done
	}
	for _, s := range u.o.Sources {
		m := &message{topic: u.topic("meta/" + s.Name()), qos: 1, retained: true, payload: s.Meta(nil)}
		if c.say(ctx, m) != nil {
			return true
		}
	}
	u.discover(ctx, c)
	return true
}

// leave says the last word on a connection, and closes it in order, so that
// the last will is not sent.
func (u *Uplink) leave(c *conn, word string) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	m := &message{topic: u.topic("availability"), qos: 1, retained: true, payload: []byte(word), last: true}
	if c.say(ctx, m) != nil {
		return
	}
	select {
	case <-m.done:
		c.client.Disconnect(100)
	case <-c.lost:
	case <-ctx.Done():
	}
}

func (u *Uplink) publishStatus(ctx context.Context, c *conn) {
	// A lost connection is noticed elsewhere.
	_ = c.say(ctx, &message{topic: u.topic("status"), qos: 1, retained: true, payload: u.o.Status(nil)})
}
