package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// cursor is the file that says how far the broker has acknowledged: two slots,
// a page each, written in turn and in place, so that a torn write costs only
// the newer one. Losing the file costs duplicates.
type cursor struct {
	mu    sync.Mutex
	name  string
	f     *os.File
	count uint64 // of saves
	seq   atomic.Uint64
}

var cursorMagic = []byte("edgecur\x01")

const (
	cursorName  = "cursor"
	cursorBytes = 8 + 16 + 8 + 8 + 4
)

// readCursor gives the journal and seq of the newer sound slot; zero when there is none.
func readCursor(name string) (id ID, seq, count uint64) {
	p := make([]byte, 2*page)
	f, err := os.Open(name)
	if err != nil {
		return ID{}, 0, 0
	}
	defer f.Close()
	n, _ := io.ReadFull(f, p)
	return parseCursor(p[:n])
}

func parseCursor(p []byte) (id ID, seq, count uint64) {
	le := binary.LittleEndian
	for at := 0; at+cursorBytes <= len(p) && at <= page; at += page {
		s := p[at : at+cursorBytes]
		if !bytes.Equal(s[:8], cursorMagic) || crc32.Checksum(s[:40], castagnoli) != le.Uint32(s[40:]) {
			continue
		}
		if n := le.Uint64(s[32:]); n >= count {
			id, seq, count = ID(s[8:24]), le.Uint64(s[24:]), n
		}
	}
	return id, seq, count
}

// cursorSlot is the page that the count-th save writes.
func cursorSlot(id ID, seq, count uint64) []byte {
	le := binary.LittleEndian
	p := append(append(make([]byte, 0, page), cursorMagic...), id[:]...)
	p = le.AppendUint64(p, seq)
	p = le.AppendUint64(p, count)
	p = le.AppendUint32(p, crc32.Checksum(p, castagnoli))
	return p[:page]
}

// save writes the older slot and makes it durable. After an error it is still
// the older one, so that the newer sound one is never at risk.
func (c *cursor) save(id ID, seq uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	made := false
	if c.f == nil {
		f, err := os.OpenFile(c.name, os.O_RDWR|os.O_CREATE, 0o640)
		if err != nil {
			return fmt.Errorf("cursor: %w", err)
		}
		c.f, made = f, true
	}
	_, err := c.f.WriteAt(cursorSlot(id, seq, c.count+1), int64((c.count+1)%2)*page)
	if err == nil {
		err = fdatasync(c.f)
	}
	if err == nil && made {
		err = syncDir(filepath.Dir(c.name))
	}
	if err != nil {
		c.f.Close()
		c.f = nil
		return fmt.Errorf("cursor: %w", err)
	}
	c.count++
	c.seq.Store(seq)
	return nil
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return fsync(d)
}

func (c *cursor) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.f == nil {
		return nil
	}
	err := c.f.Close()
	c.f = nil
	return err
}

// Ack moves the cursor to seq, durably; it never moves back. After an error
// the cursor counts as moved, but the card does not say so until a later Ack
// succeeds; Ack with the same seq tries again. It may be called by another
// goroutine than the writer's.
func (j *Journal) Ack(seq uint64) error {
	for was := j.acked.Load(); seq > was && !j.acked.CompareAndSwap(was, seq); {
		was = j.acked.Load()
	}
	if seq <= j.cursor.seq.Load() {
		return nil
	}
	return j.cursor.save(j.id, j.acked.Load())
}
