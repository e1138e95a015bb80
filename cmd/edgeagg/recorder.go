package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"edgeagg/aggregator"
	"edgeagg/board"
	"edgeagg/internal/config"
	"edgeagg/internal/record"
	"edgeagg/journal"
	"edgeagg/sensors"
	"edgeagg/uplink"
)

// How the 5 s that a stop may take are shared out, counted from its start.
const (
	stopBuffer = 2200 * time.Millisecond // the buffer is on the card
	stopUpload = 2700 * time.Millisecond // then the uplink says goodbye, in 2 s at most
)

// recorder is the main job: sources, aggregator, journal and uplink of one
// configuration.
type recorder struct {
	cfg   *config.Config
	log   *slog.Logger
	clock *board.Clock
	boot  [16]byte
	began time.Time

	journal *journal.Journal
	buffer  aggregator.Aggregator
	sources *sensors.Set
	uplink  *uplink.Uplink // nil: journal only

	refused atomic.Pointer[error] // what the card last refused; nil: it takes data
	restart context.CancelFunc    // the command restart
	rates   rates
}

// openRecorder opens everything that must be there before a source is read.
// syncLog, if not nil, gets a line for each sync that made records safe.
func openRecorder(cfg *config.Config, id board.Identity, syncLog io.Writer, log *slog.Logger) (*recorder, error) {
	r := &recorder{cfg: cfg, log: log, began: time.Now(), clock: board.NewClock(board.Trust(cfg.Clock), buildTime(), "")}
	var err error
	if r.boot, err = board.BootID(); err != nil {
		return nil, err
	}
	card, err := board.CardOf(cfg.Journal.Dir)
	if err != nil {
		return nil, fmt.Errorf("journal folder: %w", err)
	}
	if why := card.Lasting(); why != nil && cfg.Journal.RequireMount {
		return nil, fmt.Errorf("journal folder %s: %w (journal.require = \"mount\")", cfg.Journal.Dir, why)
	}
	r.journal, err = journal.Open(journal.Options{
		Dir: cfg.Journal.Dir, Device: cfg.Device, Machine: id.Board(), Boot: r.boot,
		MaxBytes: cfg.Journal.MaxBytes, MinFree: cfg.Journal.MinFree, SegmentBytes: cfg.Journal.SegmentBytes,
		MaxRecord: cfg.Aggregator.MaxRecord, Keep: len(cfg.Uplink.Brokers) > 0,
		Now: r.now, Log: log,
		Synced: func(seq uint64) {
			if syncLog != nil {
				// One write(2) a line: a reader never sees half of one.
				_, _ = syncLog.Write(fmt.Appendf(nil, "ack %d\n", seq))
			}
		},
	})
	if err != nil {
		return nil, err
	}
	if r.journal.ClockSet() {
		r.clock.Latch()
	}
	if err := r.assemble(); err != nil {
		return nil, errors.Join(err, r.journal.Close())
	}
	return r, nil
}

func (r *recorder) assemble() (err error) {
	a := aggregator.Config{
		FctBatch:  r.write,
		BufBytes:  r.cfg.Aggregator.Buffer,
		MaxRecord: r.cfg.Aggregator.MaxRecord,
		Retry:     aggregator.Retry{Max: -1, MinDelay: 50 * time.Millisecond, MaxDelay: time.Second},
		SyncTimer: r.cfg.Journal.Sync,
		SyncFct:   func(context.Context) { r.card(r.journal.Sync()) },
		PanicHandler: func(v any, stack []byte) {
			r.log.Error("panic", "err", fmt.Sprint(v), "stack", string(stack))
		},
	}
	if len(r.cfg.Uplink.Brokers) > 0 {
		a.AsyncTimer, a.AsyncMax = r.cfg.Uplink.Every, 1
		a.AsyncFct = func(ctx context.Context) { r.uplink.Drain(ctx) }
	}
	if r.buffer, err = aggregator.New(context.Background(), a); err != nil {
		return err
	}
	r.sources, err = sensors.New(sensors.Options{
		Sources: r.cfg.Sources, Sink: r.buffer, Full: aggregator.ErrFull,
		MaxRecord: r.cfg.Aggregator.MaxRecord, Now: r.now, Log: r.log,
	})
	if err != nil || len(r.cfg.Uplink.Brokers) == 0 {
		return err
	}
	live := []uplink.Source{}
	for _, s := range r.sources.Sources() {
		live = append(live, s)
	}
	r.uplink, err = uplink.New(uplink.Options{
		Config: r.cfg.Uplink, Device: r.cfg.Device, Journal: r.journal, Sources: live,
		Status: r.status, Now: r.now, Build: buildTime(), Log: r.log,
		Restart: func() { r.restart() },
		Lost:    func(first, last uint64) { r.gap(record.Damage, first, last) },
		Refused: func(first, last uint64) { r.gap(record.Refused, first, last) },
	})
	return err
}

// now is the time on both clocks of the board.
func (r *recorder) now() record.Time {
	wall, mono, set := r.clock.Now()
	return record.Time{Wall: wall, Mono: mono, Set: set}
}

// write is the aggregator's one writer.
func (r *recorder) write(recs [][]byte) (int, error) {
	n, err := r.journal.Write(recs)
	r.card(err)
	return n, err
}

// card logs when the card begins to refuse data, and when it takes it again.
func (r *recorder) card(err error) {
	was := r.refused.Load()
	switch {
	case err != nil && was == nil:
		r.log.Error("the card takes nothing: readings stay in the buffer", "err", err)
		r.refused.Store(&err)
	case err == nil && was != nil:
		r.log.Info("the card takes data again")
		r.refused.Store(nil)
	}
}

// event writes an event of the whole program.
func (r *recorder) event(name string) error {
	_, err := r.buffer.Write(record.Append(nil, &record.Record{Kind: record.Event, Event: name, Time: r.now()}))
	return err
}

// gap writes a gap over numbered records.
func (r *recorder) gap(reason string, first, last uint64) {
	g := record.Record{Kind: record.Gap, Time: r.now(), Reason: reason, Count: journal.Count(first, last), First: first, Last: last}
	if _, err := r.buffer.Write(record.Append(nil, &g)); err != nil {
		r.log.Error("gap not written", "err", err, "first", first, "last", last)
	}
}

// run reads the sources until ctx ends, then brings everything that was
// accepted to the card, and to the broker as far as time allows.
func (r *recorder) run(ctx context.Context) error {
	ctx, r.restart = context.WithCancel(ctx)
	defer r.restart()
	if err := r.buffer.Start(context.Background()); err != nil {
		return errors.Join(err, r.journal.Close())
	}
	if err := r.event(record.Start); err != nil {
		r.log.Error("start not recorded", "err", err)
	}
	var linked sync.WaitGroup
	link, unlink := context.WithCancel(context.Background())
	defer unlink()
	if r.uplink != nil {
		linked.Go(func() { r.uplink.Run(link) })
	}
	r.log.Info("running", "device", r.cfg.Device, "sources", len(r.cfg.Sources), "journal", r.cfg.Journal.Dir, "seq", r.journal.Synced())
	var stop time.Time // when the end began
	mark := make(chan struct{})
	context.AfterFunc(ctx, func() {
		stop = time.Now()
		close(mark)
	})
	r.sources.Run(ctx)
	<-mark
	var errs []error
	bound, cancel := context.WithDeadline(context.Background(), stop.Add(stopBuffer))
	errs = append(errs, r.lastWords(bound))
	left, err := r.buffer.Shutdown(bound)
	cancel()
	if left > 0 {
		errs = append(errs, fmt.Errorf("%d records did not get to the card: %w", left, err))
	}
	if r.buffer.IsRunning() {
		// The card hangs in a call. Nothing of the journal can be touched.
		unlink()
		linked.Wait()
		return errors.Join(append(errs, errors.New("the card does not answer"))...)
	}
	errs = append(errs, r.journal.Sync())
	if r.uplink != nil {
		bound, cancel := context.WithDeadline(context.Background(), stop.Add(stopUpload))
		r.uplink.Drain(bound)
		cancel()
	}
	unlink()
	linked.Wait()
	errs = append(errs, r.journal.Close())
	r.log.Info("stopped", "seq", r.journal.Synced(), "uploaded", r.journal.Acked())
	return errors.Join(errs...)
}

// lastWords writes the event stop behind everything else. A buffer that is
// full because the card takes nothing has no room for it: the next start will
// say so.
func (r *recorder) lastWords(ctx context.Context) error {
	_, err := r.buffer.WriteContext(ctx, record.Append(nil, &record.Record{Kind: record.Event, Event: record.Stop, Time: r.now()}))
	if err != nil {
		return fmt.Errorf("stop not recorded: %w", err)
	}
	return nil
}

// newLog logs to standard error: with journald's priorities under systemd.
func newLog(w io.Writer) *slog.Logger {
	if os.Getenv("JOURNAL_STREAM") == "" {
		return slog.New(slog.NewTextHandler(w, nil))
	}
	return slog.New(board.NewJournald(w))
}
