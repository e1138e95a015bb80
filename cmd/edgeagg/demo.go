package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"edgeagg/board"
	"edgeagg/internal/config"
	"edgeagg/journal"
)

// demoConfig is the demo's whole configuration but for the three places that
// are known only when it runs.
const demoConfig = `device = "demo"
clock = "trust"

[journal]
dir = %q
sync = "1s"
min_free = "1MiB"

[uplink]
broker = %q
every = "1s"
live = "1s"
status = "5s"

[[source]]
name = "greenhouse"
kind = "simulate"
fields = ["temperature Cel", "humidity %%RH"]
every = "200ms"

[[source]]
name = "inverter"
kind = "simulate"
fields = ["voltage V", "current A"]
every = "100ms"

[[source]]
name = "scale"
kind = "serial"
port = %q
parse = "csv"
fields = ["line", "weight kg"]
`

func demoCommand(args []string, stdout, stderr io.Writer) int {
	f := flags("demo", "", "edgeagg demo --for 20s")
	length := f.Duration("for", 0, "end after this `TIME`; 0: at Ctrl-C")
	keep := f.Bool("keep", false, "keep the journal's folder, and say where it is")
	if _, code, done := parse(f, args, 0, stdout, stderr); done {
		return code
	}
	limitMemory()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer cancel()
	if *length > 0 {
		ctx, cancel = context.WithTimeout(ctx, *length)
		defer cancel()
	}
	dir, err := os.MkdirTemp("", "edgeagg-demo-")
	if err != nil {
		return fail(stderr, err)
	}
	if *keep {
		defer fmt.Fprintf(stdout, "\nThe journal is in %s; try: edgeagg cat %[1]s\n", filepath.Join(dir, "card"))
	} else {
		defer os.RemoveAll(dir)
	}
	balanced, err := demo(ctx, dir, *length, stdout, stderr)
	if err != nil {
		return fail(stderr, err)
	}
	if !balanced {
		return exitFailed
	}
	return exitDone
}

// demo runs the main job against its own broker, over its own link, until ctx
// ends, and then compares what the broker got with what the card holds.
func demo(ctx context.Context, dir string, length time.Duration, stdout, stderr io.Writer) (balanced bool, err error) {
	broker, err := startBroker()
	if err != nil {
		return false, err
	}
	defer broker.close()
	wire, err := openLink(broker.addr)
	if err != nil {
		return false, err
	}
	defer wire.close()
	scale, err := openScale()
	if err != nil {
		return false, err
	}
	defer scale.close()

	card := filepath.Join(dir, "card")
	id := board.Identify("")
	cfg, _, err := config.Parse("demo", fmt.Appendf(nil, demoConfig, card, (&url.URL{Scheme: "mqtt", Host: wire.addr}).String(), scale.port),
		configIdentity(id))
	if err != nil {
		return false, err
	}
	r, err := openRecorder(cfg, id, nil, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return false, err
	}
	fmt.Fprintf(stdout, "edgeagg demo: two simulated sensors and a serial line on %s,\na journal in %s, an MQTT broker on %s.\n\n", scale.port, card, broker.addr)

	running, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.run(running) }()
	watch := view{r: r, broker: broker, scale: scale, wire: wire, out: stdout}
	err = watch.until(ctx, length, ended)
	if err != nil {
		return false, err
	}
	wire.restore()
	scale.stop()
	watch.settle(3 * time.Second)
	stop()
	if err := <-ended; err != nil {
		return false, err
	}
	return watch.balance(card)
}

// view prints what happens, a line a second.
type view struct {
	r      *recorder
	broker *broker
	scale  *scale
	wire   *link
	out    io.Writer
}

// until prints until ctx or the recorder ends. In the middle of its time, or
// 8 s from the start without one, it cuts the link for a while.
func (v *view) until(ctx context.Context, length time.Duration, ended <-chan error) error {
	cut, mend := 8*time.Second, 13*time.Second
	if length > 0 {
		cut, mend = length*35/100, length*60/100
	}
	begin := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	fmt.Fprintln(v.out, "   time   link  greenhouse          inverter           scale        journal   uploaded   backlog")
	cuts := time.NewTimer(cut)
	mends := time.NewTimer(mend)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return errors.Join(errors.New("the recorder ended by itself"), err)
		case <-cuts.C:
			v.wire.cut()
			fmt.Fprintln(v.out, "--------- the link is cut: readings go on to the card")
		case <-mends.C:
			v.wire.restore()
			fmt.Fprintln(v.out, "--------- the link is back: the backlog goes out in order")
		case <-tick.C:
			v.line(time.Since(begin))
		}
	}
}

// line prints one line of the view.
func (v *view) line(since time.Duration) {
	j := v.r.journal
	state := "up"
	if v.wire.isCut() {
		state = "CUT"
	}
	synced, acked := j.Synced(), j.Acked()
	var newest [3]string
	for i, s := range v.r.sources.Sources() {
		newest[i] = newestText(s)
	}
	fmt.Fprintf(v.out, "%6.0f s   %-4s  %-18s  %-17s  %-11s  %7d   %8d   %7d\n",
		since.Seconds(), state, newest[0], newest[1], newest[2], synced, acked, synced-min(acked, synced))
}

// settle waits until every line that was written to the serial port was read,
// so that the books can be exact, but not for ever.
func (v *view) settle(limit time.Duration) {
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		if v.scaleReadings() >= v.scale.lines() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (v *view) scaleReadings() uint64 {
	for _, s := range v.r.sources.Sources() {
		if s.Name() == "scale" {
			return s.Status().Readings
		}
	}
	return 0
}

// balance compares the card, the broker and the serial line.
func (v *view) balance(card string) (bool, error) {
	onCard, gaps, err := count(card)
	if err != nil {
		return false, err
	}
	b := v.broker.books()
	fmt.Fprintf(v.out, "\n%d lines were sent down the serial line, %d of them are on the card.\n", v.scale.lines(), onCard["scale"])
	fmt.Fprintf(v.out, "%d records are on the card (%d gaps among them); the broker got %d of them,\n%d missing, %d out of order, %d of them twice (each with its key, so they can be told).\n",
		onCard[""], gaps, b.records, onCard[""]-min(b.records, onCard[""]), b.disordered, b.doubled)
	ok := b.records == onCard[""] && b.disordered == 0 && b.bad == 0 && gaps == 0 && onCard["scale"] == v.scale.lines()
	if ok {
		fmt.Fprintln(v.out, "Nothing is lost: the books balance.")
	} else {
		fmt.Fprintln(v.out, "The books do not balance.")
	}
	return ok, nil
}

// count reads the journal back from the card: all records under "", and each source's.
func count(dir string) (n map[string]uint64, gaps int, err error) {
	w, err := journal.Inspect(dir)
	if err != nil {
		return nil, 0, err
	}
	defer w.Close()
	n = make(map[string]uint64)
	b := books{}
	err = b.each(w, func(source string) {
		n[""]++
		if source != "" {
			n[source]++
		}
	})
	return n, len(b.Gaps), err
}
