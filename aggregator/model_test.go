package aggregator_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"edgeagg/aggregator"
)

var walks = flag.Int("walks", 200, "random walks of the model test")

// model is what an Aggregator should be, as plainly as can be: a queue behind
// the record that FctWriter has. It does one thing after another, and the real
// one, once it has come to rest, has to be in the same state.
type model struct {
	size                      int
	running, stopping, closed bool
	gaveUp                    bool
	cancel                    context.CancelFunc // of the run's context; nil: it has no end
	hand                      string             // "" if FctWriter has none
	queue, waiting            []string
	written, dropped          []string
	accepted, done            int
	restarts                  []int // what has to be done before each that waits
	stops                     int   // those that wait
}

// settle does all that needs no outside help.
func (m *model) settle() {
	for {
		switch {
		case m.stopping && len(m.waiting) > 0:
			m.waiting = nil
		case m.gaveUp && m.hand == "" && len(m.queue) > 0:
			m.dropped, m.queue = append(m.dropped, m.queue...), nil
		case !m.stopping && m.hand == "" && len(m.restarts) > 0 && m.done >= m.restarts[0]:
			m.restarts, m.cancel = m.restarts[1:], nil
		case m.hand == "" && len(m.queue) > 0:
			m.hand, m.queue = m.queue[0], m.queue[1:]
		case len(m.waiting) > 0 && len(m.queue) < m.size:
			m.queue, m.waiting = append(m.queue, m.waiting[0]), m.waiting[1:]
			m.accepted++
		case m.stopping && m.hand == "":
			// Restarts that came too late start it, if they may.
			m.running = len(m.restarts) > 0 && !m.closed
			m.stopping, m.gaveUp, m.cancel = false, false, nil
			m.restarts, m.stops, m.done = nil, 0, m.accepted
		default:
			return
		}
	}
}

// walk is the model beside the real thing.
type walk struct {
	model
	t      *testing.T
	a      aggregator.Aggregator
	v      *valve
	failed sink
	calls  []chan error // of Stop, Close and Restart
	n      int
}

// TestModel walks at random. The walk's number is its seed.
func TestModel(t *testing.T) {
	for seed := range *walks {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(seed), 0))
				w := &walk{model: model{size: 1 + r.IntN(5)}, t: t, v: newValve()}
				cfg := aggregator.Config{
					FctWriter: w.v.Write, BufWriter: w.size,
					FctFailed: func(p []byte, _ error) { _, _ = w.failed.Write(p) },
				}
				if seed%3 == 0 {
					cfg.BufBytes = 4096
				}
				w.a = create(t, cfg)
				var ops []string
				for range 150 {
					ops = append(ops, w.step(r))
					w.settle()
					synctest.Wait()
					if got, want := w.real(), w.state(); got != want {
						t.Fatalf("have %s\nwant %s\nafter %q", got, want, ops[max(0, len(ops)-10):])
					}
				}
				w.v.open()
				_ = w.a.Close()
			})
		})
	}
}

func (w *walk) state() string {
	waits := w.stops + len(w.restarts)
	return fmt.Sprint("running ", w.running, ", waiting ", len(w.waiting), ", queue ", len(w.queue), ", calls ", waits,
		", written ", w.written, ", dropped ", w.dropped)
}

func (w *walk) real() string {
	w.calls = slices.DeleteFunc(w.calls, func(c chan error) bool { return len(c) > 0 })
	return fmt.Sprint("running ", w.a.IsRunning(), ", waiting ", w.a.NbWaiting(), ", queue ", w.a.NbProcessing(), ", calls ", len(w.calls),
		", written ", w.v.got(), ", dropped ", w.failed.got())
}

func (w *walk) call(f func() error) {
	c := make(chan error, 1)
	w.calls = append(w.calls, c)
	go func() { c <- f() }()
}

// step does one thing to both.
func (w *walk) step(r *rand.Rand) string {
	w.n++
	p := fmt.Sprint(w.n)
	open := w.running && !w.stopping
	switch n := r.IntN(100); {
	case n < 35:
		written := writing(w.a, p)
		if open {
			w.waiting = append(w.waiting, p)
		} else {
			is(w.t, <-written, aggregator.ErrClosedResources)
		}
		return "Write " + p
	case n < 40:
		want := error(nil)
		switch {
		case !open:
			want = aggregator.ErrClosedResources
		case len(w.queue) == w.size:
			want = aggregator.ErrFull
		default:
			w.queue = append(w.queue, p)
			w.accepted++
		}
		_, err := w.a.TryWrite([]byte(p))
		is(w.t, err, want)
		return "TryWrite " + p
	case n < 70 && w.hand != "":
		err := error(nil)
		if r.IntN(5) == 0 {
			err = errors.New("refused")
			w.dropped = append(w.dropped, w.hand)
		} else {
			w.written = append(w.written, w.hand)
		}
		w.hand = ""
		w.done++
		w.v.turn <- err
		return fmt.Sprint("FctWriter: ", err)
	case n < 80:
		want := error(nil)
		ctx, cancel := context.WithCancel(bg)
		context.AfterFunc(bg, cancel) // for vet: a later step cancels it
		switch {
		case w.closed:
			want = aggregator.ErrClosedResources
		case w.running:
			want = aggregator.ErrStillRunning
		default:
			w.running, w.cancel = true, cancel
		}
		is(w.t, w.a.Start(ctx), want)
		return "Start"
	case n < 87:
		w.call(func() error { return w.a.Restart(bg) })
		switch {
		case w.closed:
		case w.running:
			w.restarts = append(w.restarts, w.accepted)
		default:
			w.running = true
		}
		return "Restart"
	case n < 91:
		w.call(w.a.Stop)
		if w.running {
			w.stopping = true
			w.stops++
		}
		return "Stop"
	case n < 95 && w.running && w.cancel != nil:
		w.cancel()
		w.stopping = true
		return "cancel"
	case n < 98 && open:
		ctx, cancel := context.WithCancel(bg)
		cancel()
		want := len(w.queue)
		if w.hand != "" {
			want++
		}
		if left, _ := w.a.Shutdown(ctx); left != want {
			w.t.Errorf("Shutdown left %d, want %d", left, want)
		}
		w.stopping, w.gaveUp = true, true
		return "Shutdown"
	case n == 99 && r.IntN(3) == 0:
		w.call(w.a.Close)
		if w.running {
			w.stopping = true
			w.stops++
		}
		w.closed = true
		return "Close"
	}
	return "nothing"
}
