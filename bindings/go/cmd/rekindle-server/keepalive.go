package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// forever is a keep-alive without an end.
const forever = time.Duration(1<<63 - 1)

// parseKeepAlive reads "5m" or a number of seconds; below zero is for ever.
func parseKeepAlive(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is neither a duration like \"5m\" nor a number of seconds", s)
		}
		if math.IsNaN(seconds) {
			return 0, fmt.Errorf("%q is no time", s)
		}
		return ofSeconds(seconds), nil
	}
	if d < 0 {
		return forever, nil
	}
	return d, nil
}

func ofSeconds(s float64) time.Duration {
	if s < 0 || s >= forever.Seconds() {
		return forever
	}
	return time.Duration(s * float64(time.Second))
}

// keepAlive is a request's field of that name: a number of seconds or a text. Absent, the server's holds.
type keepAlive struct {
	given bool
	value time.Duration
}

func (k *keepAlive) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	var err error
	switch v := v.(type) {
	case nil:
		return nil
	case float64:
		k.value = ofSeconds(v)
	case string:
		k.value, err = parseKeepAlive(v)
	default:
		err = fmt.Errorf("is neither a text nor a number")
	}
	if err != nil {
		return badRequest("keep_alive", "keep_alive %v", err)
	}
	k.given = true
	return nil
}

func (k keepAlive) or(usual time.Duration) time.Duration {
	if k.given {
		return k.value
	}
	return usual
}
