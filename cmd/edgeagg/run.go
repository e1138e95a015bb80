package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"edgeagg/board"
	"edgeagg/internal/config"
)

// memoryLimit makes the collector work harder before a board of 512 MB, which
// has others to feed, gets tight. GOMEMLIMIT and GOGC in the environment win.
const (
	memoryLimit = 24 << 20
	gcPercent   = 50
)

func runCommand(args []string, stdout, stderr io.Writer) int {
	f := flags("run", "", "edgeagg run -c /etc/edgeagg/edgeagg.toml")
	file := f.String("c", defaultConfig, "configuration `FILE`")
	syncLog := f.String("sync-log", "", "append a line to `FILE` after each sync that made records safe: ack SEQ")
	if _, code, done := parse(f, args, 0, stdout, stderr); done {
		return code
	}
	log := newLog(stderr)
	cfg, err := load(*file)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	var acks io.Writer
	if *syncLog != "" {
		w, err := openSyncLog(*syncLog)
		if err != nil {
			return fail(stderr, err)
		}
		defer w.Close()
		acks = w
	}
	limitMemory()

	term, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM, os.Interrupt)
	defer cancel()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	var old *config.Config
	for {
		r, err := openRecorder(cfg, board.Identify(""), acks, log)
		switch {
		case err != nil && old != nil:
			log.Error("not reloaded: the old configuration goes on", "err", err)
			cfg, old = old, nil
			continue
		case err != nil:
			return fail(stderr, err)
		}
		next, err := r.until(term, hup, *file)
		if err != nil {
			return fail(stderr, err)
		}
		if next == nil {
			return exitDone
		}
		old, cfg = cfg, next
	}
}

// until runs r until it has to end, then next is nil, or until another
// configuration is to take its place.
func (r *recorder) until(term context.Context, hup <-chan os.Signal, file string) (next *config.Config, err error) {
	ctx, cancel := context.WithCancel(term)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	for {
		select {
		case err := <-ended:
			if err == nil && next == nil && term.Err() == nil {
				next = r.cfg // the command restart
			}
			if term.Err() != nil {
				next = nil
			}
			return next, err
		case <-hup:
			c, err := load(file)
			if err != nil {
				r.log.Error("not reloaded: the configuration is broken, the old one goes on", "err", err)
				continue
			}
			r.log.Info("reloading", "file", file)
			next = c
			cancel()
		}
	}
}

// openSyncLog opens for appending, or plainly where that is refused (a
// device, a pipe); it never truncates.
func openSyncLog(name string) (*os.File, error) {
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err == nil {
		return w, nil
	}
	w, plain := os.OpenFile(name, os.O_WRONLY, 0)
	if plain != nil {
		return nil, fmt.Errorf("sync log: %w", errors.Join(err, plain))
	}
	return w, nil
}

func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
