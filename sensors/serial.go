package sensors

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// silence is how long a line must have been quiet for its next byte to be the
// first of a line.
const silence = 50 * time.Millisecond

// lines reads lines from a serial port.
type lines struct {
	p      *port
	c      *config.Source
	f      *framer
	parse  parser
	now    func() record.Time
	at     record.Time // when the newest bytes came
	opened time.Time
	heard  bool // a byte has come since the opening
	cut    bool // the next line may have lost its beginning
	asked  time.Time
}

func openSerial(c *config.Source, o *Options) (driver, error) {
	p, err := openPort(c)
	if err != nil {
		return nil, err
	}
	return &lines{p: p, c: c, f: newFramer(c.Delimiter, c.MaxLine), parse: newParser(c), now: o.Now, opened: time.Now()}, nil
}

func (l *lines) Read(r *record.Record) error {
	for {
		line, long, ok := l.f.next()
		if !ok {
			if err := l.fill(); err != nil {
				return err
			}
			continue
		}
		if l.c.Delimiter[len(l.c.Delimiter)-1] == '\n' {
			line = bytes.TrimSuffix(line, []byte{'\r'})
		}
		if len(line) == 0 && !long {
			l.cut = false
			continue
		}
		l.reading(r, line, long)
		return nil
	}
}

// reading turns a line into a reading.
func (l *lines) reading(r *record.Record, line []byte, long bool) {
	r.Time, r.Quality, r.Why, r.Fields = l.at, record.Good, "", r.Fields[:0]
	switch {
	case long:
		r.Why = "too long"
	case !utf8.Valid(line):
		r.Why = "not UTF-8"
	}
	if r.Why != "" {
		r.Fields = append(r.Fields, record.Field{Name: "text", Type: record.String, Text: strings.ToValidUTF8(string(line), "\ufffd")})
	} else {
		r.Fields, r.Why = l.parse(r.Fields, line)
	}
	if r.Why != "" {
		r.Quality = record.Bad
	}
	if l.cut {
		l.cut = false
		r.Quality, r.Why = record.Uncertain, "start"
	}
}

// fill reads more bytes, and sends what is to be sent.
func (l *lines) fill() error {
	if err := l.send(); err != nil {
		return err
	}
	n, err := l.p.Read(l.f.room())
	if err != nil {
		return err
	}
	l.at = l.now()
	if !l.heard {
		l.heard, l.cut = true, time.Since(l.opened) < silence
	}
	l.f.added(n)
	return nil
}

// send writes start once the line was silent, then poll each `every`.
func (l *lines) send() error {
	if l.c.Start == "" && l.c.Poll == "" {
		return nil
	}
	now := time.Now()
	if l.asked.IsZero() {
		if now.Sub(l.opened) < silence {
			return nil
		}
		if err := l.p.Write([]byte(l.c.Start), l.c.Timeout); err != nil {
			return err
		}
		l.asked = now.Add(-l.c.Every)
	}
	if l.c.Poll == "" || now.Sub(l.asked) < l.c.Every {
		return nil
	}
	// No drift, and no burst after a late one.
	l.asked = l.asked.Add(now.Sub(l.asked).Truncate(l.c.Every))
	return l.p.Write([]byte(l.c.Poll), l.c.Timeout)
}

func (l *lines) Close() error { return l.p.Close() }
