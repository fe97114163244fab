// Package mushroom speaks the protocol of the Python package mushroom 0.9.20: requests and
// notifications in both directions as small JSON arrays, over a websocket or HTTP long polling, with
// acknowledgement and resending. It has both sides: a [Server], which any browser or Node client of
// the original can use unchanged, and a client, [Dial]. [NewStream] runs the same conversation over
// any byte stream, one array a line, so that it works over a subprocess's pipes.
//
// # Sessions
//
// A conversation is a [Session], and both ends have one with the same methods:
//
//	server, err := mushroom.NewServer(&mushroom.ServerOptions{Dispatcher: methods})
//	http.ListenAndServe("localhost:8080", server)
//
//	session, err := mushroom.Dial(ctx, "http://localhost:8080/", nil)
//	sum, err := mushroom.Call[int](ctx, session, "add", []int{1, 2})
//	err = session.Notify("seen", sum)
//
// What an end offers is a [Dispatcher]: a [Registry] of functions, the methods of an object by
// [NewMethods], or nothing at all. A handler gets the request and its session, and can call and notify
// the other end from there.
//
// # Messages
//
// A [Message] is an array whose first element says what it is:
//
//	[0, last_id]                   Heartbeat: everything up to last_id has arrived; null for nothing yet
//	[1, id, method, data]          Notification
//	[2, id, method, data]          Request
//	[3, id, request_id, data]      Response
//	[4, id, request_id, data]      Error
//	[-1]                           Disconnect
//
// Each side numbers its notifications, requests, responses and errors from 0 with one counter per
// session. A message whose id is not above the last one taken is a duplicate and is passed over. What
// was sent stays in a list until a heartbeat acknowledges it; over HTTP each poll answers the whole
// list, so nothing is lost or run twice when an exchange is.
//
// # Order
//
// Notifications run one after another in the order they were sent. Requests run beside each other;
// each starts after the notifications before it have returned. A handler that waits in
// [Session.Request] or [Session.Flush] with the context it was given lets the messages behind it go on.
//
// # Differences from the original
//
// The rules come from the original's behaviour on the wire. These differences are meant:
//
//   - JSON is written compactly and characters beyond ASCII are not escaped. The values are the same.
//   - Message ids are numbers or strings. The original also lets null and booleans pass.
//   - NaN, Infinity, invalid UTF-8 and nesting deeper than [Limits.MaxDepth] are refused.
//   - The data of a [RequestError] that a handler returns is sent; the original sends "".
//   - A result that cannot be written as JSON is answered with an error; the original never answers,
//     and its poll sessions stop working.
//   - Notifications stay in order even where their handlers wait for something else.
//   - Requests that are waiting fail at once when their session ends; the original lets them hang.
//   - A handler's late or forgotten request leaves nothing behind.
//   - The list of what is not acknowledged is bounded; past the bound the session ends with
//     [ErrUnacknowledged]. The original's grows without end.
//   - A poll session that the server closes between two polls tells the next poll, with what was
//     sent before, and tells it again for 5 s if that answer was lost. The original only answers 404.
//   - A poll session that stays away, and a websocket session that is never opened, ends after a time.
//     The original keeps them for ever.
//   - A websocket is pinged when it is quiet, and closed at once when the server ends its session. The
//     original waits for the client's next frame.
//   - The answer to a websocket close frame repeats its code, as RFC 6455 asks; the original's is empty.
//   - A websocket heartbeat that is due while others wait to be written replaces them: it
//     acknowledges the same messages.
//   - A poll that finds something to answer waits up to 5 ms for handlers at work, so that their answers
//     come along. The original's answers what is there.
//   - One poll answer holds at most [Limits.MaxBody] bytes of messages; the rest follows in the next.
//   - A request body or a message in it over the limit is answered 413, a body that does not arrive in time 408, an origin
//     that is not listed 403, and a bootstrap past the limit of sessions 503.
package mushroom
