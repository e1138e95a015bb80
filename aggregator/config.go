package aggregator

import (
	"context"
	"fmt"
	"math"
	"time"
)

const (
	// DefaultBufMaxSize bounds the bytes in flight when Config says nothing.
	DefaultBufMaxSize = 256 << 20

	// MaxBatch is the number of records that one FctBatch call gets at most.
	MaxBatch = 1024

	// MaxErrors is the number of errors that ErrorsList keeps.
	MaxErrors = 32
)

// Config says what an Aggregator does. Only FctWriter, or FctBatch in its
// place, is required. The fields down to SyncFct are those of
// github.com/nabbar/golib/ioutils/aggregator; the others default to its
// behaviour.
type Config struct {
	// FctWriter is handed each record, by one goroutine at a time. p is valid
	// only until it returns. An error, and an n below len(p), counts as a
	// failure of this record; see Retry.
	FctWriter func(p []byte) (n int, err error)

	// BufWriter is the number of records the buffer holds, 1 if not positive.
	// With BufBytes, 0 means as many as fit.
	BufWriter int

	// AsyncTimer is the interval of AsyncFct; not positive: never.
	AsyncTimer time.Duration

	// AsyncMax is how many calls of AsyncFct run at once: 0 is one, as 1 is; a
	// negative number is any. A tick that finds so many running is skipped.
	AsyncMax int

	// AsyncFct runs in a goroutine of its own, also while FctWriter is stuck.
	// It must return when ctx ends: Stop waits for it.
	AsyncFct func(ctx context.Context)

	// SyncTimer is the interval of SyncFct; not positive: only when Sync asks.
	SyncTimer time.Duration

	// SyncFct runs in the loop, so never beside FctWriter: between two records
	// at each tick, and, with a SyncTimer, a last time when the loop ends. A
	// tick that comes while the loop is busy is late; those that come while one
	// is late are dropped. ctx ends when Stop is called; that of the last run
	// does not, unless Shutdown's context does.
	SyncFct func(ctx context.Context)

	// BufBytes, if positive, makes the buffer one ring of that many bytes,
	// allocated by New and never grown. A record takes its length and 4 bytes,
	// and none is split: up to a record's length may be unused at the end.
	BufBytes int

	// MaxRecord is the length of the longest record that is accepted. 0 means
	// BufBytes - 4 with a ring, else no bound but 4 GiB.
	MaxRecord int

	// BufMaxSize bounds the bytes buffered where BufBytes does not: 0 is
	// DefaultBufMaxSize, negative is no bound. A single longer record is
	// accepted when the buffer is empty.
	BufMaxSize int

	// BufMax, if above BufWriter, lets the capacity double up to that many
	// records instead of making a writer wait, and halve back towards BufWriter
	// each second in which less than half was used. It needs BufBytes to be 0.
	BufMax int

	// FctBatch, if set, is called instead of FctWriter, with the records that
	// wait together, at least 1 and at most MaxBatch. n is how many of them, in
	// order, were taken; if it is below len(recs), record n counts as failed.
	// recs and its records are valid only until it returns.
	FctBatch func(recs [][]byte) (n int, err error)

	// BatchBytes bounds the bytes of a batch, but a longer record still goes
	// alone; 0 is 64 KiB with FctBatch. Without FctBatch, a positive number
	// makes FctWriter get the records that wait together joined into one p.
	BatchBytes int

	// BatchDelay is how long the first record of a batch waits for others while
	// the batch is not full; 0: not at all.
	BatchDelay time.Duration

	// Retry says what happens with a record that failed; the zero value drops
	// it.
	Retry Retry

	// FctFailed, if set, is handed each accepted record that is dropped, with
	// the reason. It runs in the loop; p is valid only until it returns.
	FctFailed func(p []byte, err error)

	// PanicHandler, if set, is told of each panic of a callback, on the
	// goroutine that panicked. The panic is recovered all the same.
	PanicHandler func(v any, stack []byte)
}

// Retry says how often a failed record is handed over again, whole, before it
// is dropped. Records behind it wait, so that order is kept; the buffer fills
// meanwhile and SyncFct and AsyncFct go on.
type Retry struct {
	// Max is the number of further attempts: 0 none, negative without end.
	Max int
	// MinDelay comes before the first of them, and doubles up to MaxDelay.
	// They default to 10 ms and 5 s.
	MinDelay, MaxDelay time.Duration
}

func (r Retry) delay(attempt int) time.Duration {
	d := r.MinDelay
	for ; attempt > 1 && d < r.MaxDelay; attempt-- {
		d *= 2
	}
	return min(d, r.MaxDelay)
}

func (c *Config) settle() error {
	if c.FctWriter == nil && c.FctBatch == nil {
		return ErrInvalidWriter
	}
	if c.BufBytes < 0 {
		c.BufBytes = 0
	}
	if c.MaxRecord < 0 {
		c.MaxRecord = 0
	}
	longest := int64(math.MaxUint32)
	if c.BufBytes > 0 {
		if c.BufMax > 0 {
			return fmt.Errorf("%w: BufMax %d with a fixed buffer of BufBytes %d", ErrInvalidConfig, c.BufMax, c.BufBytes)
		}
		longest = min(longest, int64(c.BufBytes)-header)
		if longest < 1 || int64(c.MaxRecord) > longest {
			return fmt.Errorf("%w: BufBytes %d cannot hold a record of MaxRecord %d and its %d bytes of length", ErrInvalidConfig, c.BufBytes, c.MaxRecord, header)
		}
	}
	if c.MaxRecord == 0 || int64(c.MaxRecord) > longest {
		c.MaxRecord = int(min(longest, math.MaxInt))
	}
	switch {
	case c.BufWriter > 0:
		c.BufWriter = min(c.BufWriter, countMask)
	case c.BufBytes > 0 && c.BufWriter == 0:
		c.BufWriter = countMask
	default:
		c.BufWriter = 1
	}
	c.BufMax = min(max(c.BufMax, c.BufWriter), countMask)
	if c.BufMaxSize == 0 {
		c.BufMaxSize = DefaultBufMaxSize
	}
	if c.AsyncMax == 0 {
		c.AsyncMax = 1
	}
	c.BatchBytes = max(c.BatchBytes, 0)
	if c.FctBatch != nil && c.BatchBytes == 0 {
		c.BatchBytes = 64 << 10
	}
	if c.Retry.MinDelay <= 0 {
		c.Retry.MinDelay = 10 * time.Millisecond
	}
	if c.Retry.MaxDelay <= 0 {
		c.Retry.MaxDelay = 5 * time.Second
	}
	c.Retry.MaxDelay = max(c.Retry.MaxDelay, c.Retry.MinDelay)
	return nil
}
