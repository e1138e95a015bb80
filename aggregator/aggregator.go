package aggregator

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrInvalidWriter is returned by New when there is no function to write with.
	ErrInvalidWriter = errors.New("invalid writer")

	// ErrInvalidInstance is what every method of an Aggregator that New did not
	// make answers with.
	ErrInvalidInstance = errors.New("invalid instance")

	// ErrStillRunning is returned by Start while the loop of an earlier Start
	// lives, also while that one drains.
	ErrStillRunning = errors.New("still running")

	// ErrClosedResources is returned for a record that was not accepted, because
	// the aggregator was not started, was stopped, was closed, or its context
	// ended; and by Start and Restart after Close.
	ErrClosedResources = errors.New("closed resources")

	// ErrFull is returned by TryWrite when the buffer has no room, and by Write
	// when SyncFct itself writes into a full buffer, which only the loop that
	// runs SyncFct could empty.
	ErrFull = errors.New("buffer full")

	// ErrTooLong is returned for a record longer than Config.MaxRecord.
	ErrTooLong = errors.New("record too long")

	// ErrInvalidConfig is wrapped by New's error about fields that contradict
	// each other.
	ErrInvalidConfig = errors.New("invalid config")

	// ErrLeft is wrapped by the error of Stop and Close, and handed to
	// Config.FctFailed, for accepted records that could not be written.
	ErrLeft = errors.New("records left unwritten")
)

// Aggregator hands the records that many goroutines write to one function, one
// after another. All methods may be called from any goroutine, those of a
// callback included; see the package documentation for what that means for
// Stop, Close, Restart, Sync and Write.
//
// As a context.Context it ends with the loop: Done is closed when the parents
// given to New and Start are cancelled, or when Stop, Close or Shutdown have
// drained the buffer. Err tells which. Value asks Start's context, then New's;
// Deadline is the earlier of the two. Between Stop and the next Start it stays
// ended; Start begins a new one.
type Aggregator interface {
	context.Context

	// Start begins a loop and returns when Write is open. The loop ends with
	// Stop, Close, Shutdown, or when ctx or New's context ends; then too what
	// was accepted is drained. It fails with ErrStillRunning, ErrClosedResources
	// after Close, or the error of a context that has already ended. A nil ctx
	// is context.Background.
	Start(ctx context.Context) error

	// Stop refuses new records and those still waiting for room, hands over all
	// that were accepted, runs SyncFct a last time, cancels the context of the
	// running AsyncFct calls, waits for them, and returns. Where Retry applies,
	// it does not wait for a writer that keeps failing: at the first failure it
	// gives up on the rest and returns an error that wraps ErrLeft.
	Stop() error

	// Restart puts the loop under a new context. What was accepted before the
	// call is handed over first, unless it is failing; what waits in the buffer
	// and which goroutines wait for room stays so, and no Write fails because of
	// it. A context that has already ended is an error and changes nothing. On a
	// stopped Aggregator it is Start.
	Restart(ctx context.Context) error

	// IsRunning reports whether a loop lives, also while it drains.
	IsRunning() bool

	// Uptime is the time since Start or Restart, 0 when not running.
	Uptime() time.Duration

	// ErrorsLast is the newest error of the callbacks since Start: what
	// FctWriter returned, io.ErrShortWrite, or a *PanicError. Nil if none.
	ErrorsLast() error

	// ErrorsList holds the newest errors since Start, oldest first, at most
	// MaxErrors. Nil if none. Metrics counts all.
	ErrorsList() []error

	// Closer's Close is a Stop for ever. The second and later calls return nil.
	io.Closer

	// Writer's Write accepts p as one record, whole or not at all, and is done
	// with p when it returns. It blocks while the buffer is full. Records of one
	// goroutine are handed over in their order. An empty p is no record: 0, nil.
	io.Writer

	// NbWaiting is the number of calls blocked for want of room.
	NbWaiting() int64
	// NbProcessing is the number of records accepted and not yet handed over.
	// It never exceeds the buffer's capacity; the record that FctWriter has in
	// its hands is not counted.
	NbProcessing() int64
	// SizeWaiting is the number of bytes that NbWaiting's calls hold.
	SizeWaiting() int64
	// SizeProcessing is the number of bytes of NbProcessing's records.
	SizeProcessing() int64

	// TryWrite is Write, but gives ErrFull instead of waiting.
	TryWrite(p []byte) (n int, err error)

	// WriteContext is Write, but gives up waiting with ctx's error.
	WriteContext(ctx context.Context, p []byte) (n int, err error)

	// Shutdown is Stop bounded by ctx, and retries failing records until then.
	// When ctx ends first it returns ctx's error and the number of accepted
	// records that FctWriter had not returned from; those still buffered go to
	// Config.FctFailed. A callback that hangs keeps the loop alive behind it,
	// and IsRunning true.
	Shutdown(ctx context.Context) (left int, err error)

	// Sync returns after all that was accepted before the call was handed over
	// and SyncFct has run, in the loop, once more. It works with a SyncTimer of
	// 0 too, and returns SyncFct's panic as an error.
	Sync(ctx context.Context) error

	// Metrics is a snapshot of all counters.
	Metrics() Metrics

	// SetLoggerError sets what is told of each error; nil: nothing. It is called
	// from the loop, and from AsyncFct's goroutines.
	SetLoggerError(func(msg string, err ...error))

	// SetLoggerInfo sets what is told of start and stop; nil: nothing.
	SetLoggerInfo(func(msg string, arg ...any))
}

// agg is the Aggregator. What the loop writes for each record, what each Write
// writes, and the rest lie on cache lines of their own.
type agg struct {
	out    atomic.Uint64 // count and bytes handed over, packed
	freed  atomic.Uint64 // ring position before which all is free
	inHand atomic.Int32  // records FctWriter has, kept while draining; those FctBatch has
	_      [64]byte

	in atomic.Uint64 // count and bytes accepted, packed

	mu       sync.Mutex
	open     bool // records are accepted
	asleep   bool // the loop waits on wake; who sets it back has to send
	lazy     bool // it is to be woken only for a full batch
	closed   bool
	first    *waiter // goroutines waiting for room, oldest first
	last     *waiter
	run      *run // nil when no loop lives
	buf      buffer
	requests []*request
	trimmer  *time.Timer
	unhanded uint64 // records left at the end of earlier loops
	blocked  uint64 // calls that had to wait for room

	pending atomic.Uint32 // events the loop has to see
	waiting atomic.Uint64 // count and bytes of those blocked, packed

	cfg     Config
	parent  context.Context // New's; nil: New did not make it
	now     atomic.Pointer[epoch]
	wake    chan struct{} // has room for one
	loop    loop
	loopID  atomic.Int64 // the loop's goroutine
	waiters sync.Pool    // of *waiter
	guarded atomic.Int32 // callbacks other than FctWriter and FctBatch that run

	errs   errorLog
	count  counts
	logErr atomic.Pointer[func(msg string, err ...error)]
	logInf atomic.Pointer[func(msg string, arg ...any)]
}

// New makes an Aggregator that is not yet started. It ends, and cannot be
// started any more, when ctx ends; a nil ctx is context.Background.
func New(ctx context.Context, cfg Config) (Aggregator, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := cfg.settle(); err != nil {
		return nil, err
	}
	a := &agg{cfg: cfg, parent: ctx, wake: make(chan struct{}, 1)}
	a.buf.init(&a.cfg)
	e := newEpoch(nil, ctx) //nolint:staticcheck // Start's is not known yet
	if ctx.Done() != nil {
		e.mu.Lock()
		e.unwatch = context.AfterFunc(ctx, func() { _ = e.Err() })
		e.mu.Unlock()
	}
	a.now.Store(e)
	return a, nil
}

func (a *agg) ok() bool { return a != nil && a.parent != nil }

func (a *agg) NbWaiting() int64 {
	if !a.ok() {
		return 0
	}
	n, _ := between(a.waiting.Load(), 0)
	return int64(n)
}

func (a *agg) SizeWaiting() int64 {
	if !a.ok() {
		return 0
	}
	_, size := between(a.waiting.Load(), 0)
	return int64(size)
}

func (a *agg) NbProcessing() int64 {
	n, _ := a.processing()
	return int64(n)
}

func (a *agg) SizeProcessing() int64 {
	_, size := a.processing()
	return int64(size)
}

// processing reads the two packed words without a lock: a pair during which the
// loop's word did not move is exact.
func (a *agg) processing() (n, size uint64) {
	if !a.ok() {
		return 0, 0
	}
	out := a.out.Load()
	for range 8 {
		n, size = between(a.in.Load(), out)
		now := a.out.Load()
		if now == out {
			break
		}
		out = now
	}
	return n, size
}

// A packed word holds a count modulo 2^24 above a number of bytes modulo 2^40.
const (
	sizeBits  = 40
	sizeMask  = 1<<sizeBits - 1
	countMask = 1<<(64-sizeBits) - 1
)

func pack(n, size uint64) uint64 { return n<<sizeBits | size&sizeMask }

func between(in, out uint64) (n, size uint64) {
	return (in>>sizeBits - out>>sizeBits) & countMask, (in - out) & sizeMask
}
