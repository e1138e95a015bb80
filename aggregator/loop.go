package aggregator

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// What the loop has to see between two records.
const (
	evStop   uint32 = 1 << iota // drain and end
	evGiveUp                    // drain no longer
	evSync                      // SyncTimer's tick
	evAsk                       // a request is queued
	evDue                       // the batch or the retry has waited long enough
)

// errEnded answers a Restart that found the loop on its way to the end.
var errEnded = errors.New("loop ended")

// loop is what only the goroutine that hands records over touches.
type loop struct {
	region
	start, off int    // of the record in hand, and behind it, in region
	n          int    // records of region that are read
	outN, outB uint64 // handed over since New, records and bytes

	*batch // nil: records go one by one

	err     error // of the last call
	noted   bool  // err was a panic, and is logged already
	calling bool
	early   bool // the record at off is counted as handed over already

	tries      int // failed attempts of the record in hand
	retrying   bool
	collecting bool // waits for the batch to fill
	due        bool // has waited long enough, for either
	timer      *time.Timer

	draining  bool
	gaveUp    bool
	cause     error // why it gave up
	left      int
	lastDone  bool // SyncFct has run a last time
	lastErr   error
	greeted   bool
	syncDue   bool
	syncAfter uint64 // records to hand over before

	asked     bool
	askAfter  uint64 // records to hand over before the first request
	answering []*request
}

// prepare makes ready for a new loop. Sums and memory stay.
func (l *loop) prepare(cfg *Config) {
	*l = loop{outN: l.outN, outB: l.outB, batch: l.batch}
	if cfg.batching() && l.batch == nil {
		l.batch = &batch{all: make([][]byte, 0, MaxBatch)}
		if cfg.FctBatch == nil {
			l.joined = make([]byte, 0, cfg.BatchBytes)
		}
	}
}

// work is the loop's goroutine. A callback that ends it with runtime.Goexit only
// has it replaced.
func (a *agg) work() {
	ended := false
	defer func() {
		if !ended {
			go a.work()
		}
	}()
	a.loopID.Store(goid())
	if !a.loop.greeted {
		a.loop.greeted = true
		a.info("starting aggregator")
	}
	for a.step() {
	}
	ended = true
}

// step does one thing. It reports whether the loop goes on; if not, another one
// may have been started already.
func (a *agg) step() bool {
	l := &a.loop
	if a.pending.Load() != 0 {
		a.see(a.pending.Swap(0))
	}
	switch {
	case l.answering != nil: // Goexit in SyncFct
		a.reply(a.errs.last())
		return true
	case l.err != nil:
		a.failed()
		return true
	case l.gaveUp:
		a.finish()
		return false
	case l.syncDue && (l.outN >= l.syncAfter || l.retrying):
		a.tick()
		return true
	case l.asked && (l.outN >= l.askAfter || l.retrying) && a.answer():
		return true
	case l.retrying && !l.due && (!l.draining || a.patient()):
		a.mu.Lock()
		a.sleep()
		return true
	}
	if l.retrying {
		l.retrying = false
		a.count.retried.Add(1)
	}
	var found int
	if a.cfg.batching() {
		if found = a.gather(); found == ready {
			a.handBatch()
		}
	} else if found = a.next(); found == ready {
		a.hand()
	}
	if found == over {
		a.finish()
		return false
	}
	return true
}

// see notes events.
func (a *agg) see(ev uint32) {
	l := &a.loop
	l.draining = l.draining || ev&evStop != 0
	l.gaveUp = l.gaveUp || ev&evGiveUp != 0
	l.due = l.due || ev&evDue != 0
	if ev&evAsk != 0 {
		l.asked, l.askAfter = true, 0
	}
	if ev&evSync != 0 {
		l.syncDue, l.syncAfter = true, 0
	}
	if l.collecting && ev&(evAsk|evSync) != 0 {
		// What waits for company goes first.
		l.due = true
		a.mu.Lock()
		l.syncAfter = a.buf.inN
		a.mu.Unlock()
	}
}

func (a *agg) patient() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run.patient
}

// sleep waits for an event or a record. It is entered with mu held.
func (a *agg) sleep() {
	if a.pending.Load() != 0 {
		a.mu.Unlock()
		return
	}
	a.asleep = true
	a.mu.Unlock()
	<-a.wake
}

// after has evDue come in d.
func (a *agg) after(d time.Duration) {
	l := &a.loop
	l.due = false
	if l.timer != nil {
		l.timer.Reset(d)
		return
	}
	l.timer = time.AfterFunc(d, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.post(evDue)
	})
}

// What next and gather found.
const (
	ready = iota // a record
	again        // nothing; look at events first
	over         // nothing, and there will be nothing
)

// next gets the region to hand over next, if this one is finished.
func (a *agg) next() int {
	l := &a.loop
	if l.off < len(l.buf) {
		return ready
	}
	a.mu.Lock()
	g, ok := a.take(false)
	if !ok && a.first != nil { // such as with a record that needs all of the ring
		in := a.admit()
		a.mu.Unlock()
		wakeAll(in)
		a.mu.Lock()
		g, ok = a.take(false)
	}
	if !ok {
		return a.nothing()
	}
	l.enter(g)
	var in *waiter
	if a.first != nil {
		// The place of the first record is free already: one lock for both.
		l.early = true
		a.moved(1, len(l.peek()))
		in = a.admit()
	}
	a.mu.Unlock()
	wakeAll(in)
	return ready
}

// nothing waits for a record, unless there will be none. It is entered with mu
// held, and leaves it.
func (a *agg) nothing() int {
	l := &a.loop
	l.enter(region{})
	if l.draining {
		a.mu.Unlock()
		return over
	}
	a.trimLater()
	a.lazy = false
	a.sleep()
	return again
}

// record reads the record at l.off, and moves on behind it.
func (l *loop) record() []byte {
	l.start = l.off
	begin := l.off
	var n int
	if l.lens != nil {
		n = int(l.lens[l.n])
		l.n++
	} else {
		n = int(binary.LittleEndian.Uint32(l.buf[begin:]))
		begin += header
	}
	l.off = begin + n
	return l.buf[begin:l.off:l.off]
}

// peek reads the record at l.off.
func (l *loop) peek() []byte {
	p := l.record()
	l.back()
	return p
}

// back moves back before the record that was read last.
func (l *loop) back() {
	l.off = l.start
	if l.lens != nil {
		l.n--
	}
}

// enter begins a region.
func (l *loop) enter(g region) { l.region, l.off, l.n = g, 0, 0 }

// given is how many records FctWriter was really given.
func (l *loop) given() uint64 {
	if l.early {
		return l.outN - 1
	}
	return l.outN
}

// hand hands over the records of the region until one fails or something else
// is to be done.
func (a *agg) hand() {
	l := &a.loop
	l.calling = true
	defer a.rescue()
	most := uint64(1)<<63 - 1
	one := l.draining || l.tries > 0
	if one {
		most = 1
	} else if given := l.given(); l.asked && l.askAfter > given {
		most = l.askAfter - given
	}
	f := a.cfg.FctWriter
	for ; l.off < len(l.buf) && most > 0; most-- {
		if a.pending.Load() != 0 {
			if l.early {
				l.early = false
				a.moved(-1, -len(l.peek()))
			}
			break
		}
		p := l.record()
		if a.buf.ring != nil {
			a.freed.Store(l.pos + uint64(l.start))
		}
		if l.early {
			l.early = false
		} else {
			a.handed(1, len(p))
		}
		if one {
			a.inHand.Store(1)
		}
		n, err := f(p)
		if one {
			a.inHand.Store(0)
		}
		if err != nil || n < len(p) {
			l.failedWith(err)
			break
		}
		l.tries = 0
	}
	l.calling = false
}

func (l *loop) failedWith(err error) {
	if err == nil {
		err = io.ErrShortWrite
	}
	l.err, l.noted = err, false
}

// handed counts records as handed over, and lets others in where they were.
func (a *agg) handed(n, size int) {
	a.moved(n, size)
	if a.waiting.Load() != 0 {
		a.mu.Lock()
		in := a.admit()
		a.mu.Unlock()
		wakeAll(in)
	}
}

// moved counts records as handed over, or with negative numbers as not.
func (a *agg) moved(n, size int) {
	l := &a.loop
	l.outN += uint64(n)
	l.outB += uint64(size)
	a.out.Store(pack(l.outN, l.outB))
}

// rescue ends hand and handBatch where the function they call does not return.
func (a *agg) rescue() {
	l := &a.loop
	if l.calling {
		v := recover()
		l.calling = false
		a.inHand.Store(0)
		name := "FctWriter"
		if a.cfg.FctBatch != nil {
			name = "FctBatch"
		}
		l.err, l.noted = a.panicked(name, v), true
	}
}

// failed decides what happens after a failure.
func (a *agg) failed() {
	l := &a.loop
	err := l.err
	l.err = nil
	a.count.failed.Add(1)
	if !l.noted {
		a.note("error writing data", err)
	}
	hurry := l.draining && !a.patient()
	most := a.cfg.Retry.Max
	switch {
	case hurry && most < 0:
		a.takeBack()
		l.gaveUp, l.cause = true, err
	case !hurry && (most < 0 || l.tries < most):
		a.takeBack()
		l.tries++
		l.retrying = true
		a.after(a.cfg.Retry.delay(l.tries))
	default:
		l.tries = 0
		var p []byte
		if a.cfg.batching() {
			p, l.recs = l.recs[0], l.recs[1:]
			a.takeBack()
		} else {
			l.back()
			p = l.record()
		}
		a.drop(p, err)
	}
}

// takeBack counts the failed records as waiting again.
func (a *agg) takeBack() {
	l := &a.loop
	if a.cfg.batching() {
		n, size := len(l.recs), 0
		for _, p := range l.recs {
			size += len(p)
		}
		a.moved(-n, -size)
		return
	}
	l.back()
	a.moved(-1, -len(l.peek()))
}

// drop gives a record up.
func (a *agg) drop(p []byte, err error) {
	a.count.dropped.Add(1)
	if f := a.cfg.FctFailed; f != nil {
		_ = a.guard("FctFailed", func() { f(p, err) })
	}
}

// sync runs SyncFct.
func (a *agg) sync(ctx *epoch) error {
	if a.cfg.SyncFct == nil {
		return nil
	}
	a.count.syncs.Add(1)
	return a.guard("SyncFct", func() { a.cfg.SyncFct(ctx) })
}

// tick runs SyncFct for SyncTimer, and then sets that again.
func (a *agg) tick() {
	a.loop.syncDue = false
	a.mu.Lock()
	r := a.run
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if !r.stopping {
			r.sync.again()
		}
	}()
	_ = a.sync(r.syncCtx)
}

// answer does what requests ask for that need not wait any longer. It reports
// whether there were any.
func (a *agg) answer() bool {
	l := &a.loop
	a.mu.Lock()
	r := a.run
	rest, sync := a.requests[:0], false
	l.asked = false
	for _, req := range a.requests {
		switch {
		case req.restart != nil && l.draining: // finish answers it
			rest = append(rest, req)
			continue
		case l.retrying && req.restart == nil, !l.retrying && req.after > l.outN:
			rest = append(rest, req)
			if !l.asked || req.after < l.askAfter {
				l.asked, l.askAfter = true, req.after
			}
			continue
		}
		l.answering = append(l.answering, req)
		sync = sync || req.restart == nil || a.cfg.SyncTimer > 0
	}
	clear(a.requests[len(rest):])
	a.requests = rest
	a.mu.Unlock()
	if l.answering == nil {
		return false
	}
	var err error
	if sync {
		err = a.sync(r.syncCtx)
	}
	a.reply(err)
	return true
}

// reply ends the requests that are being answered; err is SyncFct's.
func (a *agg) reply(err error) {
	l := &a.loop
	var restart context.Context
	for _, req := range l.answering {
		if req.restart != nil && req.restart.Err() == nil {
			restart = req.restart
		}
	}
	restarted := errEnded
	if restart != nil && a.renew(restart) {
		restarted = nil
	}
	for _, req := range l.answering {
		switch {
		case req.restart == nil:
			req.done <- err
		case req.restart.Err() != nil:
			req.done <- req.restart.Err()
		default:
			req.done <- restarted
		}
	}
	l.answering = nil
}

// renew puts the loop under a new context, unless it is to end.
func (a *agg) renew(ctx context.Context) bool {
	a.mu.Lock()
	r := a.run
	if r.stopping {
		a.mu.Unlock()
		return false
	}
	r.unhook()
	a.mu.Unlock()
	a.loop.syncDue = false
	if r.syncCtx != nil {
		r.syncCtx.cancel(context.Canceled)
		r.lastCtx.cancel(context.Canceled)
	}
	r.ctx.cancel(context.Canceled)
	a.awaitAsyncs(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.stopping {
		return false
	}
	a.begin(ctx)
	return true
}

// finish ends the loop.
func (a *agg) finish() {
	l := &a.loop
	a.mu.Lock()
	r := a.run
	if l.cause == nil {
		l.cause = r.err
	}
	a.mu.Unlock()
	a.dropLeft()
	if !l.lastDone {
		l.lastDone = true
		a.mu.Lock()
		sync := a.cfg.SyncTimer > 0
		for _, req := range a.requests {
			sync = sync || req.restart == nil
		}
		a.mu.Unlock()
		if sync {
			l.lastErr = a.sync(r.lastCtx)
		}
	}
	r.ctx.cancel(context.Canceled)
	a.awaitAsyncs(r)
	if l.greeted {
		l.greeted = false
		a.info("stopping aggregator")
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	r.left, r.err = l.left, nil
	if l.left > 0 {
		r.err = leftError(l.left, l.cause)
	}
	for _, req := range a.requests {
		switch {
		case req.restart != nil:
			req.done <- errEnded
		case r.err != nil:
			req.done <- r.err
		default:
			req.done <- l.lastErr
		}
	}
	a.requests = nil
	a.unhanded += uint64(l.left)
	a.reset()
	l.outN, l.outB = a.buf.inN, a.buf.inLen
	l.region = region{}
	if l.batch != nil {
		l.recs = nil
		clear(l.all[:MaxBatch])
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	if a.trimmer != nil {
		a.trimmer.Stop()
		a.trimmer = nil
	}
	if r.lastCtx != nil {
		r.lastCtx.cancel(context.Canceled)
	}
	a.run = nil
	a.loopID.Store(0)
	if a.closed {
		a.release()
	}
	if r.done == nil {
		r.done = closedChan
	} else {
		close(r.done)
	}
}

// dropLeft gives up what has not been handed over.
func (a *agg) dropLeft() {
	l := &a.loop
	for {
		var p []byte
		switch {
		case l.batch != nil && len(l.recs) > 0:
			p, l.recs = l.recs[0], l.recs[1:]
		case l.off < len(l.buf):
			p = l.record()
		default:
			a.mu.Lock()
			g, ok := a.take(true)
			a.mu.Unlock()
			if !ok {
				return
			}
			l.enter(g)
			continue
		}
		l.left++
		a.drop(p, leftError(1, l.cause))
	}
}

// trimLater sees to it that a buffer that has grown shrinks. It is called with
// mu held.
func (a *agg) trimLater() {
	if a.trimmer != nil || len(a.buf.free) == 0 && a.buf.limit == uint64(a.cfg.BufWriter) {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(trimEvery, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case a.trimmer != t:
		case a.trim():
			t.Reset(trimEvery)
		default:
			a.trimmer = nil
		}
	})
	a.trimmer = t
}

// trimEvery is how long memory has to be unused to be given back.
const trimEvery = time.Second
