package aggregator

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// grace is how long Shutdown, when its context has ended, lets callbacks notice.
const grace = 100 * time.Millisecond

// run is the time from Start or Restart to the end of the loop or the next
// Restart. Its fields are guarded by agg.mu, unless they never change.
type run struct {
	ctx     *epoch // of the aggregator, and for AsyncFct
	syncCtx *epoch // for SyncFct
	lastCtx *epoch // for the last SyncFct
	began   time.Time
	done    chan struct{} // closed when the loop has ended; made when somebody waits

	ended1, ended2 <-chan struct{} // of the parents; nil: never
	unwatch        [2]func() bool

	stopping bool
	patient  bool // somebody who has time drains: retry failing records
	left     int
	err      error // Stop's result, when done is closed

	asyncs     []int64       // goroutines of the running AsyncFct calls
	asyncsDone chan struct{} // closed when there are none; made when the loop waits

	sync, async *ticker // nil: no timer
}

// parentEnded reports it before the watcher comes round to it.
func (r *run) parentEnded() bool {
	if r.ended1 != nil {
		select {
		case <-r.ended1:
			return true
		default:
		}
	}
	if r.ended2 != nil {
		select {
		case <-r.ended2:
			return true
		default:
		}
	}
	return false
}

// wait gives what is closed when the loop has ended. It is called with mu held.
func (r *run) wait() <-chan struct{} {
	if r.done == nil {
		r.done = make(chan struct{})
	}
	return r.done
}

// unhook leaves nothing behind that calls for the run.
func (r *run) unhook() {
	for _, f := range r.unwatch {
		if f != nil {
			f()
		}
	}
	for _, t := range []*ticker{r.sync, r.async} {
		if t != nil {
			t.timer.Stop()
		}
	}
}

// request is a call of Sync, or of Restart with its context.
type request struct {
	after   uint64 // records accepted before
	restart context.Context
	done    chan error // has room for one
}

func (a *agg) Start(ctx context.Context) error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.start(ctx)
}

// start is called with mu held.
func (a *agg) start(ctx context.Context) error {
	ctx, err := a.usable(ctx)
	switch {
	case a.closed:
		return ErrClosedResources
	case a.run != nil:
		return ErrStillRunning
	case err != nil:
		return err
	}
	a.errs.clear()
	a.pending.Store(0)
	a.begin(ctx)
	a.open = true
	a.loop.prepare(&a.cfg)
	go a.work()
	return nil
}

// usable gives the context to use for ctx, or the error for which none can be.
func (a *agg) usable(ctx context.Context) (context.Context, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := a.parent.Err(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if own, ok := ctx.(*agg); ok && own == a {
		ctx = a.parent
	}
	return ctx, nil
}

// begin makes a new run the current one. It is called with mu held.
func (a *agg) begin(ctx context.Context) {
	e := a.now.Load()
	if !e.adopt(ctx) {
		e = newEpoch(ctx, a.parent)
		a.now.Store(e)
	}
	r := &run{ctx: e, began: time.Now(), ended1: ctx.Done(), ended2: a.parent.Done()}
	if r.ended1 == r.ended2 {
		r.ended2 = nil
	}
	if r.ended1 != nil {
		r.unwatch[0] = context.AfterFunc(ctx, func() { a.parentEnded(r) })
	}
	if r.ended2 != nil {
		r.unwatch[1] = context.AfterFunc(a.parent, func() { a.parentEnded(r) })
	}
	if a.cfg.SyncFct != nil {
		r.syncCtx = newEpoch(ctx, a.parent)
		r.lastCtx = newEpoch(ctx, a.parent)
		r.lastCtx.free = true
		if d := a.cfg.SyncTimer; d > 0 {
			r.sync = newTicker(r.began, d, func() { a.syncTick(r) })
		}
	}
	if d := a.cfg.AsyncTimer; d > 0 && a.cfg.AsyncFct != nil {
		r.async = newTicker(r.began, d, func() { a.asyncTick(r) })
	}
	a.run = r
}

// ticker calls a function once at a time, until it is set again, at multiples of
// an interval.
type ticker struct {
	timer *time.Timer
	every time.Duration
	next  time.Time
}

func newTicker(began time.Time, every time.Duration, f func()) *ticker {
	return &ticker{timer: time.AfterFunc(every, f), every: every, next: began.Add(every)}
}

// again sets the ticker for the first multiple that is still to come.
func (t *ticker) again() {
	now := time.Now()
	t.next = t.next.Add(t.every)
	if late := now.Sub(t.next); late >= 0 {
		t.next = t.next.Add(late.Truncate(t.every) + t.every)
	}
	t.timer.Reset(t.next.Sub(now))
}

func (a *agg) parentEnded(r *run) {
	err := r.ctx.Err()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.run == r && err != nil {
		a.end(r, err)
	}
}

// end has r's loop drain and end. It is called with mu held.
func (a *agg) end(r *run, why error) {
	if r.stopping {
		return
	}
	r.stopping = true
	a.open = false
	a.refuse()
	r.unhook()
	if r.syncCtx != nil {
		r.syncCtx.cancel(why)
	}
	a.post(evStop)
}

// post has the loop see ev. It is called with mu held.
func (a *agg) post(ev uint32) {
	a.pending.Or(ev)
	if a.asleep {
		a.asleep = false
		a.wake <- struct{}{}
	}
}

func (a *agg) IsRunning() bool {
	if !a.ok() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run != nil
}

func (a *agg) Uptime() time.Duration {
	if !a.ok() {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.run == nil {
		return 0
	}
	return time.Since(a.run.began)
}

func (a *agg) Stop() error {
	_, err := a.stop(nil, false) //nolint:staticcheck // nil: no bound, and no patience
	return err
}

func (a *agg) Close() error {
	_, err := a.stop(nil, true) //nolint:staticcheck // as Stop's
	return err
}

func (a *agg) Shutdown(ctx context.Context) (left int, err error) {
	if ctx == nil {
		ctx = context.Background()
	}
	return a.stop(ctx, false)
}

func (a *agg) stop(ctx context.Context, final bool) (left int, err error) {
	if !a.ok() {
		return 0, ErrInvalidInstance
	}
	id := goid()
	a.mu.Lock()
	again := a.closed
	a.closed = a.closed || final
	r := a.run
	if r == nil {
		if final {
			a.release()
		}
		a.mu.Unlock()
		return 0, nil
	}
	r.patient = r.patient || ctx != nil
	a.end(r, context.Canceled)
	if a.inside(id) {
		a.mu.Unlock()
		return 0, nil // the loop ends when this callback has returned
	}
	done := r.wait()
	a.mu.Unlock()
	var over <-chan struct{}
	if ctx != nil {
		over = ctx.Done()
	}
	select {
	case <-done:
	case <-over:
		if left, ended := a.giveUp(r, ctx.Err()); !ended {
			return left, leftError(left, ctx.Err())
		}
	}
	if final && again {
		return 0, nil
	}
	return r.left, r.err
}

// giveUp has the loop drop what it has not yet handed over. It reports whether
// the loop has ended, and what was left if it has not.
func (a *agg) giveUp(r *run, why error) (left int, ended bool) {
	a.mu.Lock()
	if a.run != r {
		a.mu.Unlock()
		return 0, true
	}
	r.patient = false
	r.err = why
	r.ctx.cancel(context.Canceled)
	if r.lastCtx != nil {
		r.lastCtx.cancel(why)
	}
	a.post(evGiveUp)
	done := r.wait()
	a.mu.Unlock()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-done:
		return 0, true
	case <-t.C:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.run != r {
		return 0, true
	}
	held, _ := between(a.in.Load(), a.out.Load())
	left = int(held) + int(a.inHand.Load())
	if a.pending.Load()&evStop != 0 && !a.cfg.batching() && a.guarded.Load() == 0 {
		left++ // FctWriter hangs since before the end
	}
	return left, false
}

func (a *agg) release() {
	a.now.Load().cancel(context.Canceled)
	a.buf.ring = nil
}

func (a *agg) Restart(ctx context.Context) error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	id := goid()
	for {
		a.mu.Lock()
		use, err := a.usable(ctx)
		r := a.run
		switch {
		case a.closed:
			err = ErrClosedResources
		case err != nil:
		case r == nil:
			err = a.start(use)
		case a.inside(id):
			if r.stopping {
				err = ErrStillRunning // it is to end, and cannot while it waits here
			} else {
				a.ask(use)
			}
		default:
			done := r.wait()
			var req *request
			if !r.stopping {
				req = a.ask(use)
				done = nil
			}
			a.mu.Unlock()
			if req == nil {
				req = &request{}
			}
			select {
			case err := <-req.done:
				if !errors.Is(err, errEnded) {
					return err
				}
			case <-done:
			case <-use.Done():
				return use.Err()
			}
			continue
		}
		a.mu.Unlock()
		return err
	}
}

// ask queues a request for the loop. It is called with mu held.
func (a *agg) ask(restart context.Context) *request {
	req := &request{after: a.buf.inN, restart: restart, done: make(chan error, 1)}
	a.requests = append(a.requests, req)
	a.post(evAsk)
	return req
}

func (a *agg) Sync(ctx context.Context) error {
	if !a.ok() {
		return ErrInvalidInstance
	}
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	id := goid()
	a.mu.Lock()
	if a.run == nil || a.run.stopping {
		a.mu.Unlock()
		return ErrClosedResources
	}
	req := a.ask(nil) //nolint:staticcheck // nil: no bound
	inLoop := id == a.loopID.Load()
	a.mu.Unlock()
	if inLoop {
		return nil
	}
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// asyncTick runs AsyncFct, in the goroutine of the timer.
func (a *agg) asyncTick(r *run) {
	a.mu.Lock()
	if a.run != r || r.stopping || r.ctx.Err() != nil {
		a.mu.Unlock()
		return
	}
	r.async.again()
	if a.cfg.AsyncMax > 0 && len(r.asyncs) >= a.cfg.AsyncMax {
		a.mu.Unlock()
		a.count.asyncSkip.Add(1)
		return
	}
	id := goid()
	r.asyncs = append(r.asyncs, id)
	a.mu.Unlock()
	a.count.asyncs.Add(1)
	defer func() { // also after a Goexit
		a.mu.Lock()
		defer a.mu.Unlock()
		i := slices.Index(r.asyncs, id)
		r.asyncs = slices.Delete(r.asyncs, i, i+1)
		if len(r.asyncs) == 0 && r.asyncsDone != nil {
			close(r.asyncsDone)
		}
	}()
	_ = a.guard("AsyncFct", func() { a.cfg.AsyncFct(r.ctx) })
}

// awaitAsyncs waits until no AsyncFct of r runs.
func (a *agg) awaitAsyncs(r *run) {
	a.mu.Lock()
	if len(r.asyncs) > 0 && r.asyncsDone == nil {
		r.asyncsDone = make(chan struct{})
	}
	done := r.asyncsDone
	a.mu.Unlock()
	if done != nil {
		<-done
	}
}

func (a *agg) syncTick(r *run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.run == r && !r.stopping {
		a.post(evSync)
	}
}

// inside reports whether the goroutine id runs one of the callbacks. It is
// called with mu held.
func (a *agg) inside(id int64) bool {
	return id == a.loopID.Load() || a.run != nil && slices.Contains(a.run.asyncs, id)
}

// goid is the number of this goroutine. The runtime tells it only at the head of
// a stack trace; it is asked for only where a callback might wait for itself.
func goid() int64 {
	var buf [64]byte
	s := buf[len("goroutine "):runtime.Stack(buf[:], false)]
	if i := bytes.IndexByte(s, ' '); i > 0 {
		s = s[:i]
	}
	id, _ := strconv.ParseInt(string(s), 10, 64)
	return id
}
