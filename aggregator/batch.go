package aggregator

// batch is the memory that batches need.
type batch struct {
	all    [][]byte // room for MaxBatch
	recs   [][]byte // of the batch in hand, those that are not yet taken
	joined []byte
}

func (c *Config) batching() bool { return c.FctBatch != nil || c.BatchBytes > 0 }

// batchFull reports whether a batch need not wait for more. It is called with
// mu held.
func (a *agg) batchFull() bool {
	held, size := between(a.in.Load(), a.out.Load())
	return held >= min(a.buf.limit, MaxBatch) || size >= uint64(a.cfg.BatchBytes) || a.first != nil
}

// gather collects the records of the next batch, waiting for them as long as
// BatchDelay says.
func (a *agg) gather() int {
	l := &a.loop
	if len(l.recs) > 0 {
		return ready // the rest of one that failed
	}
	a.mu.Lock()
	a.done()
	held, _ := between(a.in.Load(), a.out.Load())
	if held == 0 {
		l.collecting, l.due = false, false
		_, _ = a.take(false)
		in := a.admit()
		a.mu.Unlock()
		wakeAll(in)
		a.mu.Lock()
		if held, _ = between(a.in.Load(), a.out.Load()); held == 0 {
			return a.nothing()
		}
		l.enter(region{})
	}
	if a.cfg.BatchDelay > 0 && !l.due && !l.draining && !l.asked && !a.batchFull() {
		if !l.collecting {
			l.collecting = true
			a.after(a.cfg.BatchDelay)
		}
		a.lazy = true
		a.sleep()
		return again
	}
	a.mu.Unlock()
	l.collecting, l.due = false, false
	l.recs = l.all[:0]
	for size := 0; len(l.recs) < MaxBatch; {
		if l.off >= len(l.buf) {
			a.mu.Lock()
			g, ok := a.take(true)
			a.mu.Unlock()
			if !ok {
				break
			}
			l.enter(g)
		}
		p := l.record()
		if size += len(p); size > a.cfg.BatchBytes && len(l.recs) > 0 {
			l.back()
			break
		}
		l.recs = append(l.recs, p)
	}
	return ready
}

// done frees the memory of the batches before. It is called with mu held.
func (a *agg) done() {
	b := &a.buf
	if b.ring != nil {
		a.freed.Store(b.vr - uint64(len(a.loop.buf)-a.loop.off))
		return
	}
	b.letGo()
}

// handBatch hands over l.recs.
func (a *agg) handBatch() {
	l := &a.loop
	l.calling = true
	defer a.rescue()
	size := 0
	for _, p := range l.recs {
		size += len(p)
	}
	a.inHand.Store(int32(len(l.recs)))
	a.handed(len(l.recs), size)
	var n int
	var err error
	if a.cfg.FctBatch != nil {
		n, err = a.cfg.FctBatch(l.recs[:len(l.recs):len(l.recs)])
		n = min(max(n, 0), len(l.recs))
		if err != nil && n == len(l.recs) {
			a.note("error writing data", err) // but all were taken
		}
	} else {
		n, err = a.writeJoined()
	}
	a.inHand.Store(0)
	if n > 0 {
		l.tries = 0
	}
	if l.recs = l.recs[n:]; len(l.recs) > 0 {
		l.failedWith(err)
	}
	l.calling = false
}

// writeJoined hands l.recs to FctWriter as one, and reports how many of them it
// wrote to the end.
func (a *agg) writeJoined() (n int, err error) {
	l := &a.loop
	p := l.recs[0]
	if len(l.recs) > 1 {
		l.joined = l.joined[:0]
		for _, rec := range l.recs {
			l.joined = append(l.joined, rec...)
		}
		p = l.joined
	}
	written, err := a.cfg.FctWriter(p)
	for _, rec := range l.recs {
		if written -= len(rec); written < 0 {
			return n, err
		}
		n++
	}
	if err != nil {
		n--
	}
	return n, err
}
