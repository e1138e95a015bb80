package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"edgeagg/internal/record"
	"edgeagg/journal"
)

// maxResend bounds the records of one command.
const maxResend = 100_000

// resend sends records again, outside the order and without the cursor, one
// message at a time, within the bounds of a window.
func (u *Uplink) resend(ctx context.Context, c *conn, q *request) (sent uint64, err error) {
	first, last, err := u.asked(q)
	if err != nil {
		return 0, err
	}
	r := u.o.Journal.Reader(first, u.o.Lost)
	defer r.Close()
	s := resending{u: u, c: c, b: batch{e: newEncoder(&u.o.Config)}, budget: newBudget(&u.o.Config)}
	for s.sent+uint64(len(s.b.ends)) < maxResend {
		e, err := r.Next()
		if errors.Is(err, io.EOF) || err == nil && e.Seq > last {
			break
		}
		if err != nil {
			return s.sent, err
		}
		select {
		case <-c.lost:
			return s.sent, c.why
		case <-ctx.Done():
			return s.sent, ctx.Err()
		default:
		}
		if q.From != nil || q.To != nil {
			if in, err := s.within(&e, q); err != nil || !in {
				continue
			}
		}
		if err := s.add(ctx, &e); err != nil {
			return s.sent, err
		}
	}
	err = s.flush(ctx)
	if err == nil && s.sent == 0 {
		err = errors.New("no such record is here")
	}
	return s.sent, err
}

// asked checks the arguments.
func (u *Uplink) asked(q *request) (first, last uint64, err error) {
	byTime := q.From != nil || q.To != nil
	switch {
	case byTime == (q.First != 0 || q.Last != 0):
		return 0, 0, errors.New("expected first and last, or from and to")
	case byTime && q.From != nil && q.To != nil && !q.From.Before(*q.To):
		return 0, 0, errors.New("expected from before to")
	case !byTime && (q.First == 0 || q.Last < q.First):
		return 0, 0, fmt.Errorf("expected 1 <= first <= last, found first %d and last %d", q.First, q.Last)
	case byTime:
		return u.o.Journal.First(), u.o.Journal.Synced(), nil
	}
	return q.First, min(q.Last, u.o.Journal.Synced()), nil
}

// resending is one such command at work.
type resending struct {
	u      *Uplink
	c      *conn
	b      batch
	budget *budget
	sent   uint64 // records
}

func (s *resending) within(e *journal.Entry, q *request) (bool, error) {
	var r record.Record
	if err := e.Decode(&s.b.d, &r); err != nil {
		return false, err
	}
	t := r.Time.At()
	return (q.From == nil || !t.Before(*q.From)) && (q.To == nil || t.Before(*q.To)), nil
}

func (s *resending) add(ctx context.Context, e *journal.Entry) error {
	if !s.b.takes(e) {
		p := slices.Clone(e.Payload)
		if err := s.flush(ctx); err != nil {
			return err
		}
		e.Payload = p
	}
	if err := s.b.add(e); err != nil {
		return nil //nolint:nilerr // what the card holds there is no record
	}
	if len(s.b.p) < s.u.o.Config.Message {
		return nil
	}
	return s.flush(ctx)
}

// flush sends what was collected, and waits for each acknowledgement.
func (s *resending) flush(ctx context.Context) error {
	u := s.u
	for len(s.b.ends) > 0 {
		if !u.inHours() {
			return errors.New("outside the hours of uplink.between")
		}
		room := s.budget.room(u.o.Config.Message, u.day.history())
		p, n := s.b.message(room, true)
		if len(p) > room && room < u.o.Config.Message {
			return errors.New("max_bytes or max_bytes_day is used up")
		}
		if err := s.wait(ctx, s.budget.wait(time.Now())); err != nil {
			return err
		}
		m := &message{topic: u.o.Config.HistoryTopic, qos: 1, payload: slices.Clone(p)}
		if err := s.c.hand(ctx, s.c.history, m); err != nil {
			return err
		}
		s.budget.take(len(p), time.Now())
		select {
		case <-m.done:
		case <-s.c.lost:
			return s.c.why
		case <-ctx.Done():
			return ctx.Err()
		}
		s.sent += uint64(n)
		s.b.drop(n)
	}
	return nil
}

func (s *resending) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.c.lost:
		return s.c.why
	case <-ctx.Done():
		return ctx.Err()
	}
}
