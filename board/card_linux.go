package board

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Card is the file system that a folder is on.
type Card struct {
	Mount    string // where it is mounted
	Type     string // ext4, vfat, tmpfs, …
	ReadOnly bool
	Free     int64 // bytes that others than root may still write
	Total    int64 // bytes
}

// CardOf looks at the file system of dir, or of its nearest parent that exists.
func CardOf(dir string) (Card, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Card{}, err
	}
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	var c Card
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return c, fmt.Errorf("statfs %s: %w", dir, err)
	}
	c.Free, c.Total = int64(st.Bavail)*blockSize(&st), int64(st.Blocks)*blockSize(&st)
	c.ReadOnly = st.Flags&unix.ST_RDONLY != 0
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		at := unescape.Replace(f[1])
		if at == "/" || dir == at || strings.HasPrefix(dir, at+"/") {
			if len(at) >= len(c.Mount) { // a later mount covers an earlier one
				c.Mount, c.Type = at, f[2]
			}
		}
	}
	return c, nil
}

// unescape undoes what the kernel does to odd bytes in mount points (proc(5)).
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Lasting tells why records in a folder on c would not outlive a power cut or
// an upgrade of the system; nil if they would.
func (c Card) Lasting() error {
	switch {
	case c.Type == "tmpfs" || c.Type == "ramfs":
		return fmt.Errorf("%s is %s: it is gone with the power", c.Mount, c.Type)
	case c.Type == "overlay":
		return fmt.Errorf("%s is an overlay: it may be gone with the power", c.Mount)
	case c.Mount == "/":
		return fmt.Errorf("it is on the root file system: nothing else is mounted there")
	}
	return nil
}

// blockSize is an int32 on 32-bit boards.
func blockSize(st *unix.Statfs_t) int64 {
	n := st.Bsize
	return int64(n) //nolint:unconvert // not where it is an int32
}
