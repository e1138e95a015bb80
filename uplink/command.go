package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// commands answers what comes over the topic cmd.
type commands struct {
	queue     chan []byte
	seen      []string // ids, the newest last
	uploading atomic.Bool
	busy      atomic.Bool // with resend or probe
	refused   bool        // the subscription, and that was told
}

const (
	maxCommand = 4 << 10 // bytes
	maxSeen    = 64
)

// request is a command as it comes.
type request struct {
	ID    string     `json:"id"`
	Do    string     `json:"do"`
	First uint64     `json:"first"`
	Last  uint64     `json:"last"`
	From  *time.Time `json:"from"`
	To    *time.Time `json:"to"`
}

// reply is its answer.
type reply struct {
	ID     string          `json:"id"`
	Do     string          `json:"do,omitempty"`
	Error  string          `json:"error,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
	Probe  json.RawMessage `json:"probe,omitempty"`
	Sent   *uint64         `json:"sent,omitempty"` // records, by resend
	OK     bool            `json:"ok"`
}

// listen subscribes, if any command is to be obeyed. A broker that refuses
// that still takes history.
func (m *commands) listen(ctx context.Context, u *Uplink, c *conn) error {
	if len(u.o.Config.Commands) == 0 {
		return nil
	}
	topic := u.topic("cmd")
	subscribed := make(chan mqtt.Token, 1)
	go func() { // the call blocks like Publish
		subscribed <- c.client.Subscribe(topic, 1, func(_ mqtt.Client, msg mqtt.Message) { m.came(u, msg) })
	}()
	t := time.NewTimer(u.ackTimeout)
	defer t.Stop()
	var token mqtt.Token
	select {
	case token = <-subscribed:
	case <-c.lost:
		return c.why
	case <-ctx.Done():
		return nil // serve says goodbye
	case <-t.C:
		return errNoAck
	}
	select {
	case <-token.Done():
	case <-c.lost:
		return c.why
	case <-ctx.Done():
		return nil
	case <-t.C:
		return errNoAck
	}
	refused := false
	if s, ok := token.(*mqtt.SubscribeToken); ok && token.Error() == nil {
		refused = s.Result()[topic] >= 0x80 // MQTT 3.1.1, section 3.9.3: no QoS
	}
	if refused && !m.refused {
		u.log.Warn("the broker refuses the subscription: no commands (its access list must allow it)", "topic", topic)
	}
	m.refused = refused
	return nil
}

func (m *commands) came(u *Uplink, msg mqtt.Message) {
	if msg.Retained() {
		u.log.Warn("retained command ignored")
		return
	}
	p := msg.Payload()
	select {
	case m.queue <- slices.Clone(p[:min(len(p), maxCommand+1)]):
	default: // more than anyone types: the sender repeats those without a reply
		u.log.Warn("command dropped: too many at once")
	}
}

// parse checks one command, and notes its id.
func (m *commands) parse(u *Uplink, p []byte) (q request, err error) {
	if len(p) > maxCommand {
		return q, fmt.Errorf("not a command: longer than %d bytes", maxCommand)
	}
	d := json.NewDecoder(strings.NewReader(string(p)))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return q, fmt.Errorf(`not a command, expected {"id":"7","do":"status"}: %w`, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return q, errors.New("not a command: something stands behind the object")
	}
	switch {
	case q.ID == "":
		return q, errors.New("id is missing: without one a repeated command cannot be told")
	case slices.Contains(m.seen, q.ID):
		return q, fmt.Errorf("id %q was there before: not obeyed again", q.ID)
	case !slices.Contains(u.o.Config.Commands, q.Do):
		return q, fmt.Errorf("%q is not in uplink.commands, which lists %s", q.Do, strings.Join(u.o.Config.Commands, ", "))
	case q.Do != "resend" && (q.First != 0 || q.Last != 0 || q.From != nil || q.To != nil):
		return q, fmt.Errorf("%q takes no first, last, from or to", q.Do)
	}
	if m.seen = append(m.seen, q.ID); len(m.seen) > maxSeen {
		m.seen = m.seen[1:]
	}
	return q, nil
}

// answer obeys one command and says what came of it.
func (m *commands) answer(ctx context.Context, u *Uplink, c *conn, p []byte) {
	q, err := m.parse(u, p)
	a := reply{ID: q.ID, Do: q.Do}
	if err == nil {
		switch q.Do {
		case "status":
			a.Status = u.o.Status(nil)
		case "upload":
			err = m.upload(ctx, u)
		case "resend", "probe":
			if !m.busy.CompareAndSwap(false, true) {
				err = errors.New("another resend or probe is at work")
				break
			}
			u.background.Go(func() {
				defer m.busy.Store(false)
				u.reply(ctx, c, &a, u.long(ctx, c, &q, &a))
			})
			return
		case "restart":
			if u.o.Restart == nil {
				err = errors.New("restart is not available")
			} else {
				defer u.o.Restart()
			}
		}
	}
	done := u.reply(ctx, c, &a, err)
	if q.Do != "restart" || err != nil {
		return
	}
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-done:
	case <-c.lost:
	case <-t.C:
	}
}

// long obeys what takes a while.
func (u *Uplink) long(ctx context.Context, c *conn, q *request, a *reply) error {
	if q.Do == "resend" {
		n, err := u.resend(ctx, c, q)
		a.Sent = &n
		return err
	}
	if u.o.Probe == nil {
		return errors.New("probe is not available")
	}
	a.Probe = u.o.Probe()
	return nil
}

// upload opens a window beside the schedule, within its other bounds.
func (m *commands) upload(ctx context.Context, u *Uplink) error {
	if !u.inHours() {
		return errors.New("outside the hours of uplink.between")
	}
	if !m.uploading.CompareAndSwap(false, true) {
		return errors.New("another upload is at work")
	}
	u.background.Go(func() {
		defer m.uploading.Store(false)
		u.Drain(ctx)
	})
	return nil
}

func (u *Uplink) reply(ctx context.Context, c *conn, a *reply, err error) (done <-chan struct{}) {
	if a.OK = err == nil; err != nil {
		a.Error = err.Error()
	}
	p, err := json.Marshal(a)
	if err != nil { // a status that is no JSON
		p, _ = json.Marshal(reply{ID: a.ID, Do: a.Do, Error: fmt.Sprintf("the answer cannot be encoded: %v", err)})
	}
	m := &message{topic: u.topic("reply"), qos: 1, payload: p}
	_ = c.say(ctx, m) // a lost connection is noticed elsewhere
	return m.done
}
