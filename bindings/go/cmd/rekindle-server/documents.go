package main

import "encoding/json"

// documents are texts, or objects that have one.
type documents []string

func (d *documents) UnmarshalJSON(b []byte) error {
	*d = nil
	var list []json.RawMessage
	if json.Unmarshal(b, &list) != nil {
		return badRequest("documents", "documents is no list")
	}
	for i, one := range list {
		var text string
		var object struct {
			Text *string `json:"text"`
		}
		switch {
		case json.Unmarshal(one, &text) == nil:
		case json.Unmarshal(one, &object) == nil && object.Text != nil:
			text = *object.Text
		default:
			return badRequest("documents", "documents[%d] is neither a text nor an object with one", i)
		}
		*d = append(*d, text)
	}
	return nil
}
