package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgeagg/internal/record"
	"edgeagg/journal"
)

// commands answers what comes over the topic cmd.
type commands struct {
	queue chan []byte
	seen  []string // ids, the newest last
}

const (
	maxCommand = 4 << 10
	maxSeen    = 64
	maxResend  = 100_000 // records of one command
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

// listen subscribes, if any command is to be obeyed.
func (m *commands) listen(ctx context.Context, u *Uplink, c *conn) error {
	if m.queue == nil {
		m.queue = make(chan []byte, 8)
	}
	if len(u.o.Config.Commands) == 0 {
		return nil
	}
	t := c.Subscribe(u.topic("cmd"), 1, func(_ mqtt.Client, msg mqtt.Message) {
		if msg.Retained() {
			u.log.Warn("retained command ignored")
			return
		}
		select {
		case m.queue <- slices.Clone(msg.Payload()[:min(len(msg.Payload()), maxCommand+1)]):
		default: // more than anyone types: the sender repeats those without a reply
			u.log.Warn("command dropped: too many at once")
		}
	})
	select {
	case <-t.Done():
		return t.Error()
	case <-c.lost:
		return c.why
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(ackTimeout):
		return errors.New("the broker does not answer the subscription to cmd")
	}
}

// answer obeys one command and says what came of it.
func (m *commands) answer(u *Uplink, c *conn, p []byte) {
	var q request
	d := json.NewDecoder(strings.NewReader(string(p)))
	d.DisallowUnknownFields()
	err := d.Decode(&q)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something stands behind the object")
		}
	}
	a := reply{ID: q.ID, Do: q.Do}
	switch {
	case len(p) > maxCommand:
		err = fmt.Errorf("longer than %d bytes", maxCommand)
	case err != nil:
		err = fmt.Errorf("not a command: %w", err)
	case q.ID == "":
		err = errors.New("id is missing: without one a repeated command cannot be told")
	case slices.Contains(m.seen, q.ID):
		err = fmt.Errorf("id %q was there before: not obeyed again", q.ID)
	case !slices.Contains(u.o.Config.Commands, q.Do):
		err = fmt.Errorf("%q is not in uplink.commands, which lists %s", q.Do, strings.Join(u.o.Config.Commands, ", "))
	}
	if err == nil {
		if m.seen = append(m.seen, q.ID); len(m.seen) > maxSeen {
			m.seen = m.seen[1:]
		}
		switch q.Do {
		case "status":
			a.Status = u.o.Status(nil)
		case "upload":
			go u.Drain(context.Background())
		case "resend":
			go func() {
				n, err := u.resend(c, &q)
				a.Sent, a.OK = &n, err == nil
				if err != nil {
					a.Error = err.Error()
				}
				u.reply(c, &a)
			}()
			return
		case "probe":
			if u.o.Probe == nil {
				err = errors.New("probe is not available")
			} else {
				a.Probe = u.o.Probe()
			}
		case "restart":
			if u.o.Restart == nil {
				err = errors.New("restart is not available")
			} else {
				defer u.o.Restart()
			}
		}
	}
	if a.OK = err == nil; err != nil {
		a.Error = err.Error()
	}
	t := u.reply(c, &a)
	if q.Do == "restart" && a.OK {
		t.WaitTimeout(time.Second)
	}
}

func (u *Uplink) reply(c *conn, a *reply) mqtt.Token {
	p, err := json.Marshal(a)
	if err != nil { // a status that is no JSON
		p = []byte(`{"error":"the answer cannot be encoded"}`)
	}
	return c.Publish(u.topic("reply"), 1, false, p)
}

// resend sends records again, outside the order and without the cursor.
func (u *Uplink) resend(c *conn, q *request) (sent uint64, err error) {
	byTime := q.From != nil || q.To != nil
	if byTime == (q.First != 0 || q.Last != 0) {
		return 0, errors.New("expected first and last, or from and to")
	}
	first, last := q.First, min(q.Last, u.o.Journal.Synced())
	if byTime {
		first, last = u.o.Journal.First(), u.o.Journal.Synced()
	} else if first == 0 || last < first {
		return 0, fmt.Errorf("no records from %d to %d are here", q.First, q.Last)
	}
	r := u.o.Journal.Reader(first, nil)
	defer r.Close()
	b := batch{e: u.encoder()}
	flush := func() error {
		for len(b.ends) > 0 {
			p, n := b.message(u.o.Config.Message, true)
			t := c.Publish(u.o.Config.HistoryTopic, 1, false, slices.Clone(p))
			select {
			case <-t.Done():
				if t.Error() != nil {
					return t.Error()
				}
			case <-c.lost:
				return c.why
			case <-time.After(ackTimeout):
				return errors.New("the broker acknowledges nothing")
			}
			sent += uint64(n)
			b.drop(n)
		}
		return nil
	}
	for sent+uint64(len(b.ends)) < maxResend {
		e, err := r.Next()
		if errors.Is(err, io.EOF) || err == nil && e.Seq > last {
			break
		}
		if err != nil {
			return sent, err
		}
		if byTime && !inTime(&e, &b, q) {
			continue
		}
		ok, err := b.add(&e)
		if err != nil {
			return sent, err
		}
		if !ok || len(b.p) >= u.o.Config.Message {
			held := slices.Clone(e.Payload)
			if err := flush(); err != nil {
				return sent, err
			}
			if !ok {
				e.Payload = held
				if _, err := b.add(&e); err != nil {
					return sent, err
				}
			}
		}
	}
	return sent, flush()
}

func inTime(e *journal.Entry, b *batch, q *request) bool {
	var r record.Record
	if e.Decode(&b.d, &r) != nil {
		return false
	}
	t := r.Time.At()
	return (q.From == nil || !t.Before(*q.From)) && (q.To == nil || t.Before(*q.To))
}
