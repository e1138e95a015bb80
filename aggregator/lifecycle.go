package aggregator

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func (a *agg) Start(ctx context.Context) error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	if ctx == nil {
		ctx = context.Background()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.start(ctx)
}

// start begins a loop; the caller locks.
func (a *agg) start(ctx context.Context) error {
	switch {
	case a.closed:
		return ErrClosedResources
	case a.loop != nil:
		return ErrStillRunning
	case a.parent.Err() != nil:
		return a.parent.Err()
	case ctx.Err() != nil:
		return ctx.Err()
	}
	l := &loop{a: a, stop: make(chan struct{}), giveUp: make(chan struct{}), ended: make(chan struct{})}
	a.loop, a.open = l, true
	a.errs.clear()
	a.running.Store(true)
	a.begin(ctx)
	go l.run()
	a.info("aggregator started")
	return nil
}

// begin puts a new context over the loop; the caller locks.
func (a *agg) begin(ctx context.Context) {
	e := a.now.Load()
	if !e.adopt(ctx) {
		e = newEpoch(a.parent)
		e.adopt(ctx)
		a.now.Swap(e).cancel(context.Canceled)
	}
	a.began.Store(time.Now().UnixNano())
	a.ctx, a.cancel = context.WithCancel(e)
	a.calls = new(sync.WaitGroup)
	l := a.loop
	end := func() {
		err := e.Err()
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.now.Load() == e && a.loop == l && err != nil {
			a.end()
		}
	}
	for _, parent := range []context.Context{a.parent, ctx} {
		if parent.Done() != nil {
			e.watch(parent, end)
		}
	}
	a.events.Store(0)
	if a.cfg.SyncTimer > 0 {
		a.syncTick.start(a.cfg.SyncTimer, func() { a.raise(evSync) })
	}
	if a.cfg.AsyncTimer > 0 && a.cfg.AsyncFct != nil {
		a.askTick.start(a.cfg.AsyncTimer, a.callAsync)
	}
	if a.cfg.BufMax > a.cfg.BufWriter {
		a.trimTick.start(time.Second, func() { a.raise(evTrim) })
	}
}

// raise has the loop look at an event.
func (a *agg) raise(ev uint32) {
	a.events.Or(ev)
	a.poke()
}

// end has the loop drain and end; the caller locks.
func (a *agg) end() {
	a.open = false
	a.refuse(ErrClosedResources)
	if !isClosed(a.loop.stop) {
		close(a.loop.stop)
	}
	a.poke()
}

// inside reports whether this goroutine runs one of a's callbacks; the caller locks.
func (a *agg) inside() bool {
	id := goid()
	return id == a.loopID.Load() || slices.Contains(a.async, id)
}

func (a *agg) Stop() error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	_, err := a.finish(context.Background(), false, false)
	return err
}

func (a *agg) Shutdown(ctx context.Context) (left int, err error) {
	if !a.ok() {
		return 0, ErrInvalidInstance
	}
	return a.finish(ctx, true, false)
}

func (a *agg) Close() error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	_, err := a.finish(context.Background(), false, true)
	return err
}

// finish stops the loop and waits for it until ctx ends. A patient one
// retries meanwhile what fails.
func (a *agg) finish(ctx context.Context, patient, final bool) (left int, err error) {
	a.mu.Lock()
	a.closed = a.closed || final
	l := a.loop
	if l == nil {
		if final {
			a.now.Load().cancel(context.Canceled)
		}
		a.mu.Unlock()
		return 0, nil
	}
	l.patient = l.patient || patient
	a.end()
	inside := a.inside()
	a.mu.Unlock()
	if inside {
		return 0, nil // it ends once this callback returns
	}
	select {
	case <-l.ended:
	case <-ctx.Done():
		a.mu.Lock()
		if !isClosed(l.giveUp) {
			close(l.giveUp)
		}
		a.mu.Unlock()
		// What gives up at once is waited for; a callback that hangs is not.
		t := time.NewTimer(50 * time.Millisecond)
		defer t.Stop()
		select {
		case <-l.ended:
		case <-t.C:
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.q.n, ctx.Err()
		}
		if l.left > 0 {
			return l.left, ctx.Err()
		}
	}
	if l.left > 0 {
		return l.left, fmt.Errorf("%d %w", l.left, ErrLeft)
	}
	return 0, nil
}

func (a *agg) Restart(ctx context.Context) error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	if ctx == nil {
		ctx = context.Background()
	}
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return ErrClosedResources
	}
	if err := errors.Join(a.parent.Err(), ctx.Err()); err != nil {
		a.mu.Unlock()
		return err
	}
	l := a.loop
	if l == nil {
		defer a.mu.Unlock()
		return a.start(ctx)
	}
	if isClosed(l.stop) {
		inside := a.inside()
		a.mu.Unlock()
		if inside {
			return ErrStillRunning
		}
		<-l.ended
		return a.Restart(ctx)
	}
	cancel, calls, inside := a.cancel, a.calls, a.inside()
	a.begin(ctx)
	a.mu.Unlock()
	cancel()
	if !inside {
		calls.Wait()
	}
	return nil
}

func (a *agg) Sync(ctx context.Context) error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	if ctx == nil {
		ctx = context.Background()
	}
	done := make(chan error, 1)
	a.mu.Lock()
	if a.loop == nil || isClosed(a.loop.stop) {
		a.mu.Unlock()
		return ErrClosedResources
	}
	if goid() == a.loopID.Load() {
		a.mu.Unlock()
		return ErrStillRunning
	}
	a.syncs = append(a.syncs, request{done, a.count.accepted.Load()})
	a.mu.Unlock()
	a.raise(evAsk)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// callAsync runs AsyncFct in a goroutine of its own, if not too many run.
func (a *agg) callAsync() {
	a.mu.Lock()
	if a.loop == nil || !a.open || a.cfg.AsyncMax > 0 && len(a.async) >= a.cfg.AsyncMax {
		a.mu.Unlock()
		return
	}
	ctx, calls := a.ctx, a.calls
	a.async = append(a.async, -1)
	calls.Add(1)
	a.mu.Unlock()
	go func() {
		defer calls.Done()
		id := goid()
		a.swapAsync(-1, id)
		defer a.swapAsync(id, 0)
		a.count.asyncs.Add(1)
		if err := a.guard("AsyncFct", func() error {
			a.cfg.AsyncFct(ctx)
			return nil
		}); err != nil {
			a.fail(err)
		}
	}()
}

// swapAsync replaces one entry of the list of running calls; to 0: removes it.
func (a *agg) swapAsync(from, to int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.async, from)
	if i < 0 {
		return
	}
	if to == 0 {
		a.async = slices.Delete(a.async, i, i+1)
		return
	}
	a.async[i] = to
}

// guard calls f and turns its panic into an error.
func (a *agg) guard(name string, f func() error) (err error) {
	defer a.caught(name, &err)
	return f()
}

// caught is deferred around a callback.
func (a *agg) caught(name string, err *error) {
	v := recover()
	if v == nil {
		return
	}
	stack := debug.Stack()
	a.count.panics.Add(1)
	*err = &PanicError{Callback: name, Value: v, Stack: stack}
	if a.cfg.PanicHandler != nil {
		func() {
			defer func() { _ = recover() }()
			a.cfg.PanicHandler(v, stack)
		}()
	}
}

// goid is the number of this goroutine. The runtime offers it only at the head
// of a stack trace; it is asked for only where a callback might wait for itself.
func goid() int64 {
	var b [64]byte
	s := strings.TrimPrefix(string(b[:runtime.Stack(b[:], false)]), "goroutine ")
	s, _, _ = strings.Cut(s, " ")
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// ticker calls f at each multiple of its interval since it was started; those
// that pass while f runs are dropped.
type ticker struct {
	mu   sync.Mutex
	t    *time.Timer
	life int
}

func (k *ticker) start(every time.Duration, f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.t != nil {
		k.t.Stop()
	}
	k.life++
	life, next := k.life, time.Now().Add(every)
	k.t = time.AfterFunc(every, func() {
		f()
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.life != life {
			return
		}
		now := time.Now()
		next = next.Add(now.Sub(next).Truncate(every) + every)
		k.t.Reset(next.Sub(now))
	})
}

func (k *ticker) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.life++
	if k.t != nil {
		k.t.Stop()
		k.t = nil
	}
}

// errorLog keeps the newest errors.
type errorLog struct {
	mu   sync.Mutex
	list []error
}

func (e *errorLog) add(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == MaxErrors {
		e.list = append(e.list[:0], e.list[1:]...)
	}
	e.list = append(e.list, err)
}

func (e *errorLog) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = nil
}

func (a *agg) ErrorsLast() error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	a.errs.mu.Lock()
	defer a.errs.mu.Unlock()
	if n := len(a.errs.list); n > 0 {
		return a.errs.list[n-1]
	}
	return nil
}

func (a *agg) ErrorsList() []error {
	if !a.ok() {
		return []error{ErrInvalidInstance}
	}
	a.errs.mu.Lock()
	defer a.errs.mu.Unlock()
	return slices.Clone(a.errs.list)
}

// fail notes an error of a callback.
func (a *agg) fail(err error) {
	a.count.errors.Add(1)
	a.errs.add(err)
	if f := a.logErr.Load(); f != nil && *f != nil {
		func() {
			defer func() {
				if recover() != nil {
					a.count.panics.Add(1)
				}
			}()
			(*f)("aggregator", err)
		}()
	}
}

func (a *agg) info(msg string, arg ...any) {
	if f := a.logInfo.Load(); f != nil && *f != nil {
		func() {
			defer func() {
				if recover() != nil {
					a.count.panics.Add(1)
				}
			}()
			(*f)(msg, arg...)
		}()
	}
}

func (a *agg) SetLoggerError(f func(msg string, err ...error)) {
	if a.ok() {
		a.logErr.Store(&f)
	}
}

func (a *agg) SetLoggerInfo(f func(msg string, arg ...any)) {
	if a.ok() {
		a.logInfo.Store(&f)
	}
}

// counts are the counters behind Metrics.
type counts struct {
	accepted, acceptedBytes, written, writtenBytes, dropped, full, errors, panics, syncs, asyncs atomic.Uint64
}
