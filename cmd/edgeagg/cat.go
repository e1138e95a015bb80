package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"edgeagg/internal/record"
	"edgeagg/journal"
)

func catCommand(args []string, stdout, stderr io.Writer) int {
	f := flags("cat", "[DIR]", "edgeagg cat --source outside --from 2026-11-23T00:00:00Z /media/card/edgeagg")
	file := f.String("c", defaultConfig, "configuration `FILE`, for the journal's folder if no DIR is given")
	source := f.String("source", "", "only records of the source `NAME`")
	from := f.String("from", "", "only records from `TIME` on (RFC 3339, or a date)")
	to := f.String("to", "", "only records before `TIME`")
	format := f.String("format", "json", "json or influx")
	words, code, done := parse(f, args, 1, stdout, stderr)
	if done {
		return code
	}
	var p printer
	switch *format {
	case "json":
	case "influx":
		p.influx = true
	default:
		return wrongUsage(f, stderr, fmt.Errorf("--format %s: expected json or influx", *format))
	}
	p.source = *source
	var err error
	if p.from, err = parseTime(*from); err != nil {
		return wrongUsage(f, stderr, fmt.Errorf("--from: %w", err))
	}
	if p.to, err = parseTime(*to); err != nil {
		return wrongUsage(f, stderr, fmt.Errorf("--to: %w", err))
	}
	w, err := openJournal(words, *file)
	if err != nil {
		return fail(stderr, err)
	}
	defer w.Close()
	for _, why := range w.Foreign {
		fmt.Fprintf(stderr, "edgeagg: left out %s\n", why)
	}
	out := bufio.NewWriterSize(stdout, 64<<10)
	err = p.print(w, out)
	if err = errors.Join(err, out.Flush()); err != nil {
		return fail(stderr, err)
	}
	return exitDone
}

// openJournal reads the folder that was named, or that of the configuration.
func openJournal(words []string, file string) (*journal.Walk, error) {
	if len(words) > 0 {
		return journal.Inspect(words[0])
	}
	cfg, err := load(file)
	if err != nil {
		return nil, err
	}
	return journal.Inspect(cfg.Journal.Dir)
}

// unnamed is the gap that no journaled one tells of: what it found missing, at
// the time of the record before.
func unnamed(it *journal.Item, before *record.Record) record.Record {
	r := record.Record{Kind: record.Gap, Time: before.Time, Corrected: before.Corrected, Reason: record.Damage, Count: -1, First: it.First, Last: it.Last}
	if it.First != 0 {
		r.Count = journal.Count(it.First, it.Last)
	}
	return r
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return t, fmt.Errorf("%q: expected a time like 2026-11-23T10:00:00Z or a date like 2026-11-23", s)
	}
	return t, nil
}

// printer writes the records that were asked for.
type printer struct {
	influx   bool
	source   string
	from, to time.Time
}

func (p *printer) print(w *journal.Walk, out io.Writer) error {
	var d record.Decoder
	var r record.Record
	var line []byte
	var last record.Record // for the time and place of damage
	device, id := "", ""
	var of journal.ID
	torn := false // at the end of what was read so far
	for {
		it, err := w.Next()
		if errors.Is(err, io.EOF) {
			if !torn {
				return nil
			}
			it, torn = journal.Item{}, false
		} else if err != nil {
			return err
		} else {
			torn = it.Payload == nil && it.First == 0 && it.Damage.Tail
			if torn || it.Payload == nil && (it.Reason != "" || it.First == 0) {
				continue // a gap in the journal says so, or no record is missing
			}
		}
		if it.Payload == nil {
			r = unnamed(&it, &last)
		} else if err := it.Decode(&d, &r); err != nil {
			return fmt.Errorf("record %d: %w", it.Seq, err)
		} else {
			last.Time, last.Corrected = r.Time, r.Corrected
			if of != it.Journal {
				of, id = it.Journal, it.Journal.String()
			}
			device = it.Device
		}
		if !p.wants(&r) {
			continue
		}
		if p.influx {
			line = record.AppendInflux(line[:0], &r, device, id)
		} else {
			line = append(record.AppendJSON(line[:0], &r), '\n')
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
}

func (p *printer) wants(r *record.Record) bool {
	t := r.Time.At()
	return (p.source == "" || p.source == r.Source) &&
		(p.from.IsZero() || !t.Before(p.from)) && (p.to.IsZero() || t.Before(p.to))
}
