package sensors

import "bytes"

// framer cuts a stream of bytes into lines. Its memory is allocated once.
type framer struct {
	delimiter []byte
	most      int // bytes of the longest line
	buf       []byte
	from      int    // where the next line begins in buf
	seen      int    // up to where no delimiter was found
	skip      bool   // the rest of a line that was too long is being thrown away
	thrown    uint64 // bytes
}

const readChunk = 4096

func newFramer(delimiter []byte, most int) *framer {
	return &framer{delimiter: delimiter, most: most, buf: make([]byte, 0, most+len(delimiter)+readChunk)}
}

// room is where the next bytes are to be read to; added tells how many came.
func (f *framer) room() []byte {
	if f.from > 0 {
		n := copy(f.buf, f.buf[f.from:])
		f.seen -= f.from
		f.buf, f.from = f.buf[:n], 0
	}
	return f.buf[len(f.buf):cap(f.buf)]
}

func (f *framer) added(n int) { f.buf = f.buf[:len(f.buf)+n] }

// next gives the next whole line without its delimiter, valid until the next
// call of room. Of a line that is too long it gives the head, once.
func (f *framer) next() (line []byte, long, ok bool) {
	for {
		rest := f.buf[f.from:]
		start := max(f.seen-f.from, 0)
		i := bytes.Index(rest[start:], f.delimiter)
		if i < 0 {
			// The delimiter's own beginning may be the last bytes.
			keep := len(f.delimiter) - 1
			f.seen = max(f.from, len(f.buf)-keep)
			if f.skip {
				drop := max(len(rest)-keep, 0)
				f.thrown += uint64(drop)
				f.from += drop
				f.seen = f.from
				return nil, false, false
			}
			if len(rest) < f.most+len(f.delimiter) {
				return nil, false, false
			}
			f.skip = true
			f.from += f.most
			f.seen = f.from
			return rest[:f.most], true, true
		}
		end := start + i
		line = rest[:end]
		f.from += end + len(f.delimiter)
		f.seen = f.from
		if f.skip {
			f.skip = false
			f.thrown += uint64(end)
			continue
		}
		if len(line) > f.most {
			f.thrown += uint64(len(line) - f.most)
			return line[:f.most], true, true
		}
		return line, false, true
	}
}
