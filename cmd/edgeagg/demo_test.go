package main

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgeagg/internal/record"
	"edgeagg/journal"
)

// The demo's books do not balance when the broker got less than the card
// holds, or not in order.
func TestTheDemoNoticesALoss(t *testing.T) {
	card := filepath.Join(t.TempDir(), "card")
	j, err := journal.Open(journal.Options{
		Dir: card, Device: "demo", MaxBytes: 1 << 30, SegmentBytes: 1 << 20, MaxRecord: 4096, Log: slog.New(slog.DiscardHandler),
		Now: func() record.Time { return record.Time{Wall: time.Now().UnixMicro(), Mono: 1, Set: true} },
	})
	if err != nil {
		t.Fatal(err)
	}
	line := record.Append(nil, &record.Record{Kind: record.Reading, Source: "scale", Time: record.Time{Wall: 1, Mono: 1, Set: true}})
	if _, err := j.Write([][]byte{line, line, line}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		sum   brokerBooks
		lines uint64
		want  bool
	}{
		{"whole", brokerBooks{records: 3}, 3, true},
		{"whole, one of it twice", brokerBooks{records: 3, doubled: 1}, 3, true},
		{"one missing", brokerBooks{records: 2}, 3, false},
		{"out of order", brokerBooks{records: 3, disordered: 1}, 3, false},
		{"a line missing on the card", brokerBooks{records: 3}, 4, false},
		{"something else", brokerBooks{records: 3, bad: 1}, 3, false},
	} {
		var out strings.Builder
		v := view{broker: &broker{sum: c.sum}, scale: &scale{}, out: &out}
		v.scale.n.Store(c.lines)
		got, err := v.balance(card)
		if err != nil || got != c.want || strings.Contains(out.String(), "The books do not balance") == c.want {
			t.Errorf("%s: %v, %v\n%s", c.name, got, err, out.String())
		}
	}
}
