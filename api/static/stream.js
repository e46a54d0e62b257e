// A search's events as they happen. The browser reconnects by itself with Last-Event-ID; where it gives up (the server
// answered with an error), a new stream is opened behind the last event that was seen.

const KINDS = [
  "search_submitted", "search_paused", "search_resumed", "search_cancelled", "search_finished", "search_failed",
  "budget_extended", "arm_exhausted", "trial_queued", "trial_refused", "trial_leased", "trial_requeued",
  "trial_completed", "trial_stopped", "trial_failed", "trial_cancelled",
];
const RETRY_MS = [1000, 2000, 5000, 10000];

export function follow(searchId, after, { onEvent, onLink }) {
  let last = after;
  let failures = 0;
  let lost = false;

  function open() {
    const source = new EventSource(`/api/v1/searches/${searchId}/events?after=${last}`);
    source.onopen = () => {
      failures = 0;
      onLink("live", lost);
      lost = false;
    };
    source.onerror = () => {
      lost = true;
      onLink("reconnecting", false);
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(open, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
      }
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, (message) => {
        const event = JSON.parse(message.data);
        if (event.number <= last) return;
        last = event.number;
        onEvent(event);
      });
    }
  }

  open();
}
