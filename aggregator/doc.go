// Package aggregator lets many goroutines write records to one function that
// is called by one goroutine at a time: sockets to a log file, sensors to a
// journal, clients to a database connection. It needs the standard library
// only. Its API is that of github.com/nabbar/golib/ioutils/aggregator, name for
// name, with more beside it.
//
// # What a record may count on
//
// A Write that returned nil is a promise: the record reaches FctWriter exactly
// once, whole, behind the records that the same goroutine wrote before, and the
// slice is the caller's again. Stop, Close, Restart and the end of a context
// keep it: all drain what was accepted. Exceptions are announced: a record whose
// write failed and is not retried, or that was left when Stop or Shutdown gave
// up, goes to FctFailed and is counted in Metrics.Dropped. Retry hands a failed
// record over again, whole, so what a writer had half written comes twice.
//
// Only the end of the process loses records silently: a kill loses those that
// were accepted and not yet handed over, NbProcessing, and the one in
// FctWriter's hands. What FctWriter does with a record is its own affair; if it
// keeps them in the page cache, a power cut loses those since the last SyncFct.
//
// # What blocks
//
//   - Write while the buffer is full, until there is room or the loop ends.
//     TryWrite gives ErrFull instead, WriteContext gives up with its context.
//     Those who wait come in one by one, in the order in which they came.
//   - FctWriter and SyncFct hold up the loop, never a Write that finds room.
//   - Stop and Close until the buffer is drained and all callbacks have
//     returned; Shutdown not longer than its context and a tenth of a second.
//   - Restart and Sync until what was accepted before is handed over.
//   - Counters never; IsRunning, Uptime and Metrics only for the length of
//     somebody's copy of a record.
//
// # Callbacks
//
// FctWriter, FctBatch, SyncFct, FctFailed and, mostly, the loggers run in the
// loop's goroutine, AsyncFct in goroutines of its own, which a stuck FctWriter
// does not hold up. Their panics are recovered, and a runtime.Goexit only costs
// the record at hand.
//
// A callback may call every method. Stop, Close, Shutdown, Restart and Sync
// called from a callback cannot wait for it to return: they ask for what they
// do and return nil at once, and it happens when the callback has returned.
// That is known by the goroutine; a callback that starts another one which
// calls Stop, and waits for it, waits for ever. A Write by SyncFct, FctFailed or
// a logger into a full buffer gives ErrFull, because only the loop that waits
// for them could make room. FctWriter must not Write to its own aggregator but
// with TryWrite.
//
// # How big a buffer
//
// It has to take what comes while the writer pauses:
//
//	records = rate × pause × 1.5
//	bytes   = records × (length + 4)
//
// rate is the records per second of all writers together, pause the longest
// time that FctWriter or SyncFct takes, 1.5 leaves room for bursts. An example,
// a board with a journal on an SD card: four streams of 50 records/s of 64
// bytes, and a card that can stall for 3 s while it moves blocks about. That is
// 200 × 3 × 1.5 = 900 records, 900 × 68 = 61 200 bytes: BufBytes of 64 KiB, and
// 512 KiB would do for 25 s. A serial line at 3 Mbaud is 300 000 bytes/s: in
// lines of 60 bytes, 5 000 × 3 × 1.5 × 64 = 1.4 MB.
//
// Signs of one that is too small are NbWaiting above 0, and Metrics.Full and
// Metrics.Blocked that rise. One whose NbProcessing stays near 0 is larger than
// it need be, which costs nothing unless BufBytes fixed it.
//
// # Memory
//
// Some 1.4 KB after Start, with the loop's goroutine some 4 KB. With BufBytes
// the buffer is that many bytes, allocated by New, whatever comes; batches add
// 24 KB for MaxBatch slices. Without it, memory comes in chunks as records
// wait, up to BufWriter × (length + 12) for records below 1 KB, at most a tenth
// more above; BufMaxSize bounds the bytes. What a burst needed is given back
// when it was not used for a second. Nothing is allocated for each record.
package aggregator
