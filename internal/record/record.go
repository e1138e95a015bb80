// Package record is one entry of the journal: a reading, a gap or an event,
// in its binary form (on the card) and its JSON form (everywhere else).
//
// The sequence number is not part of the binary form: the journal gives it
// when it frames the record.
package record

import (
	"math"
	"time"
)

// Kind tells what a record is.
type Kind uint8

// The kinds of record. Their numbers are on the card: never renumber.
const (
	Reading Kind = 1 // named values that one source measured at one moment
	Gap     Kind = 2 // what is missing
	Event   Kind = 3 // what happened
)

// Quality is the trust a reading deserves, in the words of OPC UA part 8.
type Quality uint8

// The qualities. Their numbers are on the card: never renumber.
const (
	Good Quality = iota
	Uncertain
	Bad
)

func (q Quality) String() string {
	switch q {
	case Good:
		return "good"
	case Uncertain:
		return "uncertain"
	}
	return "bad"
}

// Reasons of a gap.
const (
	Overflow  = "overflow"  // the buffer was full
	Damage    = "damage"    // bytes on the card cannot be read
	Evicted   = "evicted"   // the card's budget was reached before upload
	Unplugged = "unplugged" // the port was gone
	Error     = "error"     // the source could not be read
	Power     = "power"     // the last boot ended without a stop
	Refused   = "refused"   // the broker closed the connection on it
)

// Names of events.
const (
	Start     = "start"
	Stop      = "stop"
	ClockSet  = "clock"
	Lost      = "unplugged"
	Plugged   = "plugged"
	Failed    = "failed" // a source cannot be read any more
	Back      = "back"   // it can again
	Recovered = "recovered"
	Retention = "evicted" // plain retention began: no broker is configured
)

// Time is one moment on both clocks of the board.
type Time struct {
	Wall int64 // µs since 1970-01-01 UTC, as the wall clock stood
	Mono int64 // µs since boot (CLOCK_BOOTTIME); 0 when it belongs to another boot
	Set  bool  // the wall clock had been set in this boot
}

// At gives the wall clock's side of t.
func (t Time) At() time.Time { return time.UnixMicro(t.Wall).UTC() }

// Type is the type of a field's value.
type Type uint8

// The types of a value. Their numbers are on the card: never renumber.
const (
	Float  Type = 0 // IEEE 754 binary64, finite
	Int    Type = 1 // 64 bits, signed
	String Type = 2 // UTF-8
	Bool   Type = 3
)

// Field is one named value.
type Field struct {
	Name string
	Type Type
	Num  float64 // Float
	Int  int64   // Int; Bool as 0 or 1
	Text string  // String
}

// Finite reports whether the value can be stored: everything but NaN and the infinities.
func (f Field) Finite() bool {
	return f.Type != Float || !math.IsNaN(f.Num) && !math.IsInf(f.Num, 0)
}

// Number gives the value of a Float or an Int, and whether it is one.
func (f Field) Number() (float64, bool) {
	switch f.Type {
	case Float:
		return f.Num, true
	case Int:
		return float64(f.Int), true
	}
	return 0, false
}

// Record is one entry of the journal. Which fields mean something depends on Kind.
type Record struct {
	Kind      Kind
	Seq       uint64 // 0: not numbered (live, or damage that no gap names yet)
	Time      Time
	Corrected bool   // Time was put right from the monotonic clock after the clock was set; not on the card
	Source    string // "" for what concerns the whole journal

	// Reading
	Quality Quality
	Why     string // the reason of a quality below good; on events, the cause
	Fields  []Field

	// Gap
	Count    int64 // how many are missing; -1: cannot be known
	Reason   string
	From, To Time // Wall 0: unknown

	// Gap and Event
	First, Last uint64 // the numbered records that it speaks of; 0: none

	// Event
	Event  string
	Offset time.Duration // clock: by how much the wall clock moved
}

// Correct puts right every time of r that was taken before the clock was set in its
// boot: base is wall − mono in µs of that boot once set, 0 if never.
func (r *Record) Correct(base int64) {
	if base == 0 {
		return
	}
	if !r.Time.Set && r.Time.Mono != 0 {
		r.Time.Wall, r.Corrected = base+r.Time.Mono, true
	}
	for _, t := range []*Time{&r.From, &r.To} {
		if t.Wall != 0 && !t.Set && t.Mono != 0 {
			t.Wall = base + t.Mono
		}
	}
}
