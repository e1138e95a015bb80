package board

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
)

// Journald is a slog handler whose lines begin with the priority that
// journald reads from a service's standard error (sd-daemon(3)), and leave
// out the time, which journald knows.
type Journald struct {
	text slog.Handler
	out  *prefixed
}

// prefixed puts the priority before what one record writes.
type prefixed struct {
	mu   sync.Mutex
	w    io.Writer
	line bytes.Buffer
}

func (p *prefixed) Write(b []byte) (int, error) { return p.line.Write(b) }

// NewJournald makes a handler that writes to w, one write a line.
func NewJournald(w io.Writer) *Journald {
	out := &prefixed{w: w}
	return &Journald{out: out, text: slog.NewTextHandler(out, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		},
	})}
}

// Enabled is slog.Handler's.
func (h *Journald) Enabled(ctx context.Context, l slog.Level) bool { return h.text.Enabled(ctx, l) }

// WithAttrs is slog.Handler's.
func (h *Journald) WithAttrs(a []slog.Attr) slog.Handler {
	return &Journald{text: h.text.WithAttrs(a), out: h.out}
}

// WithGroup is slog.Handler's.
func (h *Journald) WithGroup(name string) slog.Handler {
	return &Journald{text: h.text.WithGroup(name), out: h.out}
}

// Handle is slog.Handler's.
func (h *Journald) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.line.Reset()
	switch {
	case r.Level >= slog.LevelError:
		h.out.line.WriteString("<3>")
	case r.Level >= slog.LevelWarn:
		h.out.line.WriteString("<4>")
	case r.Level >= slog.LevelInfo:
		h.out.line.WriteString("<6>")
	default:
		h.out.line.WriteString("<7>")
	}
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.out.w.Write(h.out.line.Bytes())
	return err
}
