package config

// minSegment is the smallest segment of a journal.
const minSegment = 64 << 10

// card checks the sizes of buffer and journal against each other, and fits
// the defaults to what is given.
func (d *decoder) card(c *Config) {
	aggregator, journal := d.files.root.get("aggregator"), d.files.root.get("journal")
	a, j := &c.Aggregator, &c.Journal
	if j.Dir == "" {
		d.bad(d.place(journal, "dir"), `journal.dir = "": expected a folder, for example "/var/lib/edgeagg"`)
	}
	if aggregator.get("max_record") == nil {
		a.MaxRecord = min(a.MaxRecord, a.Buffer/2)
	}
	if a.MaxRecord > a.Buffer/2 {
		d.bad(d.place(aggregator, "max_record"), "aggregator.max_record = %s: expected at most half of aggregator.buffer, which is %s", showSize(a.MaxRecord), showSize(a.Buffer))
	}
	if journal.get("segment_bytes") == nil {
		// A small journal gives back an eighth at a time, not all of it.
		j.SegmentBytes = min(j.SegmentBytes, max(minSegment, j.MaxBytes/8&^4095))
	}
	if j.MaxBytes < 2*j.SegmentBytes {
		d.bad(d.place(journal, "segment_bytes"), "journal.segment_bytes = %s: expected at most half of journal.max_bytes, which is %s: the oldest segment goes to make room for the next", showSize(j.SegmentBytes), showSize(j.MaxBytes))
	}
	if int64(a.MaxRecord) > j.SegmentBytes/2 {
		d.bad(d.place(aggregator, "max_record"), "aggregator.max_record = %s: expected at most half of a segment of the journal, which has %s", showSize(a.MaxRecord), showSize(j.SegmentBytes))
	}
}
