package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"edgeagg/internal/record"
	"edgeagg/journal"
)

// books is what verify finds.
type books struct {
	Records uint64            `json:"records"`
	First   uint64            `json:"first"`
	Last    uint64            `json:"last"`
	Gaps    []json.RawMessage `json:"gaps"`
	Damage  []journal.Damage  `json:"damage"`

	broken bool
}

func verifyCommand(args []string, stdout, stderr io.Writer) int {
	f := flags("verify", "[DIR]", "edgeagg verify /media/card/edgeagg")
	file := f.String("c", defaultConfig, "configuration `FILE`, for the journal's folder if no DIR is given")
	asJSON := f.Bool("json", false, "print one JSON object")
	words, code, done := parse(f, args, 1, stdout, stderr)
	if done {
		return code
	}
	w, err := openJournal(words, *file)
	if err != nil {
		return fail(stderr, err)
	}
	defer w.Close()
	b := books{Gaps: []json.RawMessage{}, Damage: []journal.Damage{}}
	if err := b.each(w, func(string) {}); err != nil {
		return fail(stderr, err)
	}
	if *asJSON {
		p, err := json.Marshal(b)
		if err != nil {
			return fail(stderr, err)
		}
		fmt.Fprintf(stdout, "%s\n", p)
	} else {
		b.print(stdout, w.Foreign)
	}
	if b.broken {
		return exitFailed
	}
	return exitDone
}

// each reads the whole journal and tells found the source of each record. The
// books are broken when records are missing that neither a power cut nor the
// card's budget explains, or when bad bytes lie before good ones.
func (b *books) each(w *journal.Walk, found func(source string)) error {
	var d record.Decoder
	var r record.Record
	for {
		it, err := w.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if it.Payload == nil {
			if it.Damage.Length > 0 {
				b.Damage = append(b.Damage, it.Damage)
				b.broken = b.broken || !it.Damage.Tail
			}
			if it.First != 0 && it.Reason != record.Power && it.Reason != record.Evicted {
				b.broken = true
			}
			if it.First != 0 && it.Reason == "" {
				r = unnamed(&it, &r)
				b.Gaps = append(b.Gaps, record.AppendJSON(nil, &r))
			}
			continue
		}
		if err := it.Decode(&d, &r); err != nil {
			return fmt.Errorf("record %d: %w", it.Seq, err)
		}
		if b.Records++; b.First == 0 {
			b.First = it.Seq
		}
		b.Last = it.Seq
		found(r.Source)
		if r.Kind == record.Gap {
			b.Gaps = append(b.Gaps, record.AppendJSON(nil, &r))
		}
	}
}

func (b *books) print(w io.Writer, foreign []string) {
	fmt.Fprintf(w, "%d records, seq %d to %d\n", b.Records, b.First, b.Last)
	for _, g := range b.Gaps {
		fmt.Fprintf(w, "gap %s\n", g)
	}
	for _, d := range b.Damage {
		tail := ""
		if d.Tail {
			tail = ", nothing behind them in this file"
		}
		fmt.Fprintf(w, "damage %s: %d bytes at %d hold no record%s\n", d.File, d.Length, d.Offset, tail)
	}
	for _, why := range foreign {
		fmt.Fprintf(w, "left out %s\n", why)
	}
	if b.broken {
		fmt.Fprintln(w, "records are missing or damaged")
	} else {
		fmt.Fprintln(w, "sound")
	}
}
