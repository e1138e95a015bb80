package sensors

import "bytes"

// framer cuts a stream of bytes into lines. Its memory is allocated once.
type framer struct {
	delimiter []byte
	cr        int // bytes of a carriage return that may stand before the delimiter: 1 if that is "\n"
	most      int // bytes of the longest line
	buf       []byte
	from      int  // where the next line begins in buf
	seen      int  // up to where no delimiter was found
	skip      bool // the rest of a line that was too long is being thrown away
}

// readChunk is the least that there is room for, bytes.
const readChunk = 4096

func newFramer(delimiter []byte, most int) *framer {
	f := &framer{delimiter: delimiter, most: most}
	if string(delimiter) == "\n" {
		f.cr = 1
	}
	f.buf = make([]byte, 0, most+f.cr+len(delimiter)+readChunk)
	return f
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

// partial reports whether bytes of an unfinished line are there.
func (f *framer) partial() bool { return len(f.buf) > f.from }

// next gives the next whole line without its delimiter, valid until the next
// call of room. Of a line that is too long it gives the head, once, and goes
// on behind the next delimiter.
func (f *framer) next() (line []byte, long, ok bool) {
	for {
		rest := f.buf[f.from:]
		start := f.seen - f.from
		i := bytes.Index(rest[start:], f.delimiter)
		if i < 0 {
			// The delimiter's own beginning may be the last bytes.
			keep := min(len(f.delimiter)-1, len(rest))
			f.seen = max(f.seen, len(f.buf)-keep)
			switch {
			case f.skip:
				f.from = f.seen
			case len(rest)-keep > f.most+f.cr:
				f.skip = true
				f.from = f.seen
				return rest[:f.most], true, true
			}
			return nil, false, false
		}
		end := start + i
		line = rest[:end]
		f.from += end + len(f.delimiter)
		f.seen = f.from
		if f.skip {
			f.skip = false
			continue
		}
		if f.cr > 0 && end > 0 && line[end-1] == '\r' {
			line = line[:end-1]
		}
		if len(line) > f.most {
			return line[:f.most], true, true
		}
		return line, false, true
	}
}
