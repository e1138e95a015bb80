package aggregator

import (
	"context"
	"errors"
	"testing"
)

// An Aggregator that New did not make answers with ErrInvalidInstance.
func TestInvalidInstances(t *testing.T) {
	for _, a := range []*agg{nil, {}} {
		_, write := a.Write([]byte("x"))
		_, shut := a.Shutdown(context.Background())
		for what, err := range map[string]error{
			"Write": write, "Shutdown": shut, "Start": a.Start(context.Background()), "Stop": a.Stop(), "Restart": a.Restart(context.Background()),
			"Close": a.Close(), "Sync": a.Sync(context.Background()), "Err": a.Err(), "ErrorsLast": a.ErrorsLast(), "ErrorsList": a.ErrorsList()[0],
		} {
			if !errors.Is(err, ErrInvalidInstance) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if a.IsRunning() || a.Uptime() != 0 || a.NbWaiting()+a.NbProcessing()+a.SizeWaiting()+a.SizeProcessing() != 0 || a.Value("k") != nil || a.Metrics() != (Metrics{}) {
			t.Error("an invalid instance says something")
		}
		if _, ok := a.Deadline(); ok {
			t.Error("a deadline")
		}
		<-a.Done()
		a.SetLoggerError(nil)
		a.SetLoggerInfo(nil)
	}
}
