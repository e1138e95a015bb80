package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"edgeagg/internal/record"
)

// Damage is a run of bytes on the card that hold no sound record.
type Damage struct {
	File   string `json:"file"` // name inside the journal's folder
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Tail   bool   `json:"-"` // nothing sound lies behind it in its file: a torn write
}

// Item is what a Walk finds next: one record, or missing ones, or damage.
// Damage comes with what is missing by it where that is known.
type Item struct {
	Entry              // Payload nil: no record
	Damage      Damage // Length 0: none
	First, Last uint64 // records that should be here and are not; 0: none
	Reason      string // of the gap that names them; "": none does
}

// Walk reads a journal from outside: all of it in order, sound or not, without
// writing anything, also beside a running writer.
type Walk struct {
	dir     string
	segs    []segment
	bases   map[ID]int64
	Foreign []string // why each file that is called a segment was left out

	i     int // index of the segment that is read
	f     *os.File
	s     *scan
	last  uint64 // seq of the last record found
	queue []Item
	held  Item // the record behind the queue
	names []Item
	plain bool // holes are not looked up: for the pass that collects gaps
	asked bool
	p     []byte
}

// Inspect opens the journal in dir for reading.
func Inspect(dir string) (*Walk, error) {
	segs, strangers, err := list(dir)
	if err != nil {
		return nil, err
	}
	hint, _, _ := readCursor(filepath.Join(dir, cursorName))
	w := &Walk{dir: dir, bases: make(map[ID]int64)}
	segs, _, foreign := ours(segs, hint)
	for _, s := range strangers {
		if namedSeq(s.name) == 0 || !errors.Is(s.err, errNoHead) {
			foreign = append(foreign, s)
			continue
		}
		w.queue = append(w.queue, Item{Damage: Damage{File: filepath.Base(s.name), Length: s.bytes}})
	}
	for _, s := range foreign {
		w.Foreign = append(w.Foreign, filepath.Base(s.name)+": "+s.err.Error())
	}
	for _, s := range segs {
		if s.base != 0 {
			w.bases[s.boot] = s.base
		}
	}
	w.segs = segs
	return w, nil
}

// Next gives the next item; io.EOF at the end.
func (w *Walk) Next() (Item, error) {
	for {
		if len(w.queue) > 0 {
			it := w.queue[0]
			w.queue = w.queue[1:]
			return it, nil
		}
		if w.held.Payload != nil {
			it := w.held
			w.held = Item{}
			return it, nil
		}
		if w.i >= len(w.segs) {
			return Item{}, io.EOF
		}
		if err := w.step(); err != nil {
			return Item{}, err
		}
	}
}

// step reads one frame, or goes to the next segment.
func (w *Walk) step() error {
	at := &w.segs[w.i]
	if w.s == nil {
		f, err := os.Open(at.name)
		if errors.Is(err, os.ErrNotExist) { // evicted meanwhile
			w.i++
			return nil
		}
		if err != nil {
			return err
		}
		var before uint64
		if w.i+1 < len(w.segs) {
			before = w.segs[w.i+1].first
		}
		w.f, w.s = f, newScan(f, &at.head, at.bytes, before)
		if w.last == 0 {
			w.last = at.first - 1
		}
	}
	off := w.s.off
	p, seq, bad, err := w.s.next()
	if errors.Is(err, io.EOF) && bad.tail {
		// Perhaps it is being written just now.
		w.s.off, w.s.buf = off, nil
		again := bad
		if p, seq, bad, err = w.s.next(); errors.Is(err, io.EOF) && bad.length > again.length {
			bad = again
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		// Bytes that the card does not give are as lost as wrong ones.
		bad = damaged{off: off, length: at.bytes - off, tail: true}
		err = io.EOF
	}
	if bad.length > 0 {
		w.queue = append(w.queue, Item{Damage: Damage{File: filepath.Base(at.name), Offset: bad.off, Length: bad.length, Tail: bad.tail}})
	}
	if errors.Is(err, io.EOF) {
		w.f.Close()
		w.f, w.s = nil, nil
		if w.i++; w.i < len(w.segs) {
			w.miss(w.segs[w.i].first)
		}
		return nil
	}
	if seq <= w.last {
		return nil // a copy of a segment
	}
	w.miss(seq)
	w.last = seq
	// The queue may be answered by reading on before the record is given out.
	w.p = append(w.p[:0], p...)
	w.held = Item{Entry: Entry{Seq: seq, Payload: w.p, Journal: at.journal, Device: at.device, Base: w.bases[at.boot]}}
	return nil
}

// miss queues what is missing before the record numbered next, piece by piece
// as gaps name it.
func (w *Walk) miss(next uint64) {
	if w.plain || next <= w.last+1 {
		return
	}
	first := w.last + 1
	w.last = next - 1
	for first < next {
		piece := Item{First: first, Last: next - 1}
		for _, g := range w.gaps() {
			switch {
			case g.First <= first && first <= g.Last:
				piece.Last, piece.Reason = min(g.Last, next-1), g.Reason
			case first < g.First && g.First <= piece.Last && piece.Reason == "":
				piece.Last = g.First - 1
			}
		}
		if n := len(w.queue); n > 0 && w.queue[n-1].First == 0 {
			w.queue[n-1].First, w.queue[n-1].Last, w.queue[n-1].Reason = piece.First, piece.Last, piece.Reason
		} else {
			w.queue = append(w.queue, piece)
		}
		first = piece.Last + 1
	}
}

// gaps collects, once and only if asked, what the journal's gaps name.
func (w *Walk) gaps() []Item {
	if w.asked {
		return w.names
	}
	w.asked = true
	all, err := Inspect(w.dir)
	if err != nil {
		return nil
	}
	all.plain = true
	defer all.Close()
	var d record.Decoder
	var r record.Record
	for {
		it, err := all.Next()
		if err != nil {
			return w.names
		}
		if it.Payload == nil || record.Kind(it.Payload[0]&3) != record.Gap {
			continue
		}
		if d.Decode(it.Payload, &r) == nil && r.First != 0 {
			w.names = append(w.names, Item{First: r.First, Last: r.Last, Reason: r.Reason})
		}
	}
}

// Close gives the walk's file back.
func (w *Walk) Close() error {
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	w.f, w.s = nil, nil
	return err
}
