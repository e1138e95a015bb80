package sensors

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

const (
	// silence is how long a line must have been quiet for its next byte to be
	// the first of a line.
	silence = 50 * time.Millisecond
	// gather is how long bytes are left in the kernel's buffer behind the
	// beginning of a line that trickles in: at 1 Mbaud that is 400 of its 4096
	// bytes. Each wake-up costs more than reading a line.
	gather  = 4 * time.Millisecond
	trickle = 1024 // bytes at once that are no trickle
	// lookAgain is how often the name of a silent port is looked up.
	lookAgain = time.Second
)

// lines reads lines from a serial port. Config: port, baud, data_bits, parity,
// stop_bits, delimiter, max_line, parse with fields and pattern, start, poll.
// The time of a reading is when its last bytes were read.
type lines struct {
	p      *port
	c      *config.Source
	f      *framer
	parse  parser
	now    func() record.Time
	at     record.Time // when the newest bytes came
	opened time.Time
	looked time.Time // when the port's name was looked up, or bytes came
	came   int       // how many bytes came at last
	heard  bool      // a byte has come since the opening
	cut    bool      // the next line may have lost its beginning
}

// openSerial opens the port. One that gets start or poll is listened to for
// the silence first, so that the first answer is known to be whole.
func openSerial(c *config.Source, o *Options) (driver, error) {
	p, err := openPort(c, o)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	l := &lines{p: p, c: c, f: newFramer(c.Delimiter, c.MaxLine), parse: newParser(c), now: o.Now, opened: now, looked: now}
	if c.Start == "" && c.Poll == "" {
		return l, nil
	}
	err = l.fill(silence)
	if err == nil || errors.Is(err, errIdle) {
		err = p.Write([]byte(c.Start), c.Timeout)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return l, nil
}

func (l *lines) Read(r *record.Record) error {
	for {
		line, long, ok := l.f.next()
		switch {
		case !ok:
			return errIdle
		case len(line) > 0:
			l.reading(r, line, long)
			return nil
		}
		l.cut = false // an empty line is none, but the next is whole
	}
}

// reading turns a line into a reading.
func (l *lines) reading(r *record.Record, line []byte, long bool) {
	r.Time = l.at
	switch {
	case long:
		r.Why = "too long"
	case !utf8.Valid(line):
		r.Why = "not UTF-8"
	default:
		r.Fields, r.Why = l.parse(r.Fields, line)
	}
	if r.Why != "" {
		r.Quality = record.Bad
		r.Fields = withText(r.Fields, strings.ToValidUTF8(string(line), "\uFFFD"))
	}
	if l.cut && !long {
		// That explains also what else may be wrong with it.
		r.Quality, r.Why = record.Uncertain, "start"
	}
	l.cut = false
}

func (l *lines) fill(limit time.Duration) error {
	if limit > 0 && l.came < trickle && l.f.partial() && time.Since(l.looked) < gather {
		time.Sleep(gather)
	}
	n, err := l.p.Read(l.f.room(), limit)
	now := time.Now()
	switch {
	case errors.Is(err, errIdle):
		if now.Sub(l.looked) > lookAgain {
			l.looked = now
			if err := l.p.moved(); err != nil {
				return err
			}
		}
		return errIdle
	case err != nil:
		return err
	}
	l.at, l.looked, l.came = l.now(), now, n
	if !l.heard {
		l.heard, l.cut = true, now.Sub(l.opened) < silence
	}
	l.f.added(n)
	return nil
}

func (l *lines) ask() error {
	if err := l.p.Write([]byte(l.c.Poll), l.c.Timeout); err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}

func (l *lines) Close() error { return l.p.Close() }
