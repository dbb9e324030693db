/* One subscriber's queue, and how its receiver sleeps and is woken: bus/internal/stream_queue.hpp, conflating_queue.cpp,
 * subscriber_state.cpp and the parker.
 *
 * In the model                    In the C++
 *   dispatcher: OFFER             SubscriberState::offer, StreamQueue::push (room, settle_gap, append, accept)
 *   OFFER_RUN                     StreamQueue::push_run for a block of two; LOSE is SubscriberState::lose
 *   NEXT_SEGMENT                  StreamQueue::next_segment: segments of 2 words in a circle, reused behind head_
 *   FINISH_TURN                   Fanout::wake_touched: a look at parked_, take_parked, then Parker::wake
 *   receiver: LEND                StreamQueue::lend (retire, next_words, lend_singles, take_gap, take_open_gap)
 *   RECEIVE                       SubscriberState::lend / receive with the second look after ended_
 *   the loop around it            SubscriberState::wait with park and unpark; a deadline may pass at any moment
 *   PUSH_LOCKED, LEND_LOCKED      ConflatingQueue::push and lend: each is one step, because a mutex guards all of it
 *
 * A gap takes 2 words here (the kind; first and last), 4 in the C++; its count is last - first + 1, because every event
 * matches. What happens under the lock of an open gap (biased_lock.pml) is one step: all that is shared and not guarded
 * by that lock is one load (written_ in take_open_gap; head_ in settle_gap's append, where an older head_ only costs a
 * segment). A loss that makes an open gap larger wakes nobody.
 * Receivers share nothing, so most runs have one; those with three show the dispatcher with all of them (COARSE).
 *
 * Loads and stores of shared variables are steps, sequentially consistent. The C++ has acquire/release:
 *  - written_: words, segment links and accepted_ are visible with it. head_: a segment is written again only after its
 *    words were read. consumed_: only an upper bound of the depth is concluded, an old one makes the queue look fuller.
 *  - parked_ is changed by read-modify-write on both sides (acq_rel), so of park() and take_parked() one sees what the
 *    other did before: the waiter, or written_ / gap_open_ / ended_. A look at parked_ alone comes behind a seq_cst
 *    fence, and park() and its looks are seq_cst, to the same effect.
 *
 * Asserted: a receiver sees its events in order, and each event once or in one gap at its place; nothing after Closed,
 * and all that was offered before it; no word is written before it was read, or while it is lent; no receiver returns
 * while its waker is still at work on it; matched = received + lagged + queued (or discarded); when nobody can move,
 * no receiver sleeps with something to read.
 */
#ifndef RECEIVERS
#define RECEIVERS 1
#endif
#ifndef EVENTS
#define EVENTS 5
#endif
#ifndef LIMIT
#define LIMIT 2 /* events lent at once */
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0
#endif
#ifndef EVICTIONS
#define EVICTIONS 0 /* losses at the ingress, which come whether the queue is full or not */
#endif
#define DROP_NEWEST 0
#define CLOSE_SUBSCRIBER 1
#define DROP_OLDEST 2
#define LATEST_PER_KEY 3
#ifndef POLICY
#define POLICY DROP_NEWEST
#endif
#ifndef POLICY1
#define POLICY1 POLICY
#endif
#ifndef POLICY2
#define POLICY2 POLICY
#endif
#define policy(r) (r == 0 -> POLICY : (r == 1 -> POLICY1 : POLICY2))
#define LOCKED(r) (policy(r) >= DROP_OLDEST)

/* With three receivers a whole receive or park, and a whole event or turn's end for all of them, is one step. */
#ifdef COARSE
#define STEP atomic
#else
#define STEP
#endif

#define CAPACITY 2
#define SEGMENT 2
#define SEGMENTS 6
#define IS_GAP 250
#define IS_RUN 251
#define IDLE 0
#define ASLEEP 1
#define WOKEN 2

typedef Queue {
  /* The producer's. */
  byte written, accepted, consumed_seen, tail, tail_next, segments;
  bit gap_open;
  byte gap_first, gap_last;
  /* The consumer's. */
  byte consumed, head, head_next, read;
  byte run_next, run_left;
  byte lent_at, lent_count;
  byte next[SEGMENTS];
  byte word[SEGMENTS * SEGMENT];
  bit used[SEGMENTS * SEGMENT];
  /* ConflatingQueue: nodes with the gap before each, oldest first, and the gap after the last. */
  byte nodes, node[CAPACITY], key[CAPACITY];
  byte before_first[CAPACITY], before_last[CAPACITY], after_first, after_last;
  /* SubscriberState. */
  bit parked, ended, let_go;
  byte parker;
  byte matched, received, lagged;
  /* Ghosts. */
  byte expected;
  bit touched, closed, waking;
};
Queue q[RECEIVERS];
#define Q q[r]

/* --- the producer's side of StreamQueue --- */

inline NEXT_SEGMENT() {
  if
#ifdef M_NO_HEAD_LOOK
  :: Q.segments > 1 -> Q.tail = Q.next[Q.tail]
#endif
  :: Q.segments != 0 && Q.next[Q.tail] != Q.head -> Q.tail = Q.next[Q.tail]
  :: else ->
    assert(Q.segments < SEGMENTS);
    if
    :: Q.segments != 0 -> Q.next[Q.segments] = Q.next[Q.tail]; Q.next[Q.tail] = Q.segments
    :: else
    fi;
    Q.tail = Q.segments;
    Q.segments++
  fi;
  Q.tail_next = 0
}

inline APPEND(w) {
  if
  :: Q.segments == 0 || Q.tail_next == SEGMENT -> NEXT_SEGMENT()
  :: else
  fi;
  assert(!Q.used[Q.tail * SEGMENT + Q.tail_next]);
  Q.word[Q.tail * SEGMENT + Q.tail_next] = w;
  Q.used[Q.tail * SEGMENT + Q.tail_next] = 1;
  Q.tail_next++
}

inline SETTLE_GAP(words) {
  if
  :: Q.gap_open ->
    APPEND(IS_GAP);
    APPEND(Q.gap_first * 16 + Q.gap_last);
    Q.gap_open = 0; Q.gap_first = 0; Q.gap_last = 0;
    words = words + 2
  :: else
  fi
}

inline LOSE_IN_STREAM(first, last) {
  if
  :: Q.gap_open -> Q.gap_last = last
  :: else -> Q.gap_first = first; Q.gap_last = last; Q.gap_open = 1; Q.touched = 1
  fi
}

/* Sees consumed_ only when its own last look says that there is no room. */
inline ROOM(wanted) {
  if
  :: CAPACITY - (Q.accepted - Q.consumed_seen) < wanted -> Q.consumed_seen = Q.consumed
  :: else
  fi
}

inline OFFER_TO_STREAM(e) {
  atomic {
    ROOM(1);
    if
    :: Q.accepted - Q.consumed_seen == CAPACITY -> goto lost
    :: else
    fi
  }
  atomic { words = 1; SETTLE_GAP(words) }
  atomic { APPEND(e); Q.accepted++ }
  atomic { Q.written = Q.written + words; words = 0 }
}

/* --- ConflatingQueue --- */

inline MERGE(into_first, into_last, first, last) {
  if
  :: first != 0 ->
    into_first = (into_first == 0 || first < into_first -> first : into_first);
    into_last = (last > into_last -> last : into_last)
  :: else
  fi
}

inline REMOVE_NODE(at) {
  if
  :: at == 0 && Q.nodes == 2 ->
    Q.node[0] = Q.node[1]; Q.key[0] = Q.key[1];
    Q.before_first[0] = Q.before_first[1]; Q.before_last[0] = Q.before_last[1]
  :: else
  fi;
  Q.nodes--;
  Q.node[Q.nodes] = 0; Q.key[Q.nodes] = 0; Q.before_first[Q.nodes] = 0; Q.before_last[Q.nodes] = 0
}

/* What it stood for is lost, at its place: before the next one. */
inline DISPLACE(at) {
  MERGE(Q.before_first[at], Q.before_last[at], Q.node[at], Q.node[at]);
  if
  :: at + 1 < Q.nodes -> MERGE(Q.before_first[1], Q.before_last[1], Q.before_first[at], Q.before_last[at])
  :: else -> MERGE(Q.after_first, Q.after_last, Q.before_first[at], Q.before_last[at])
  fi;
  Q.lagged++;
  REMOVE_NODE(at)
}

inline PUSH_LOCKED(e) {
  if
  :: policy(r) == LATEST_PER_KEY && Q.nodes > 0 && Q.key[0] == k -> DISPLACE(0)
  :: policy(r) == LATEST_PER_KEY && Q.nodes > 1 && Q.key[1] == k && Q.key[0] != k -> DISPLACE(1)
  :: else
  fi;
  if
  :: Q.nodes == CAPACITY -> DISPLACE(0)
  :: else
  fi;
  Q.node[Q.nodes] = e; Q.key[Q.nodes] = k;
  Q.before_first[Q.nodes] = Q.after_first; Q.before_last[Q.nodes] = Q.after_last;
  Q.after_first = 0; Q.after_last = 0;
  Q.nodes++
}

/* --- the dispatcher --- */

inline LOSE(first, last) {
  atomic {
    Q.lagged = Q.lagged + last - first + 1;
    if
    :: LOCKED(r) -> MERGE(Q.after_first, Q.after_last, first, last); Q.touched = 1
    :: else -> LOSE_IN_STREAM(first, last)
    fi
  }
}

inline END() { Q.ended = 1 }

inline OFFER(e) {
  Q.matched++;
  if
  :: LOCKED(r) -> atomic { PUSH_LOCKED(e); Q.touched = 1 }
  :: else ->
    OFFER_TO_STREAM(e);
    Q.touched = 1;
    goto offered;
lost:
    LOSE(e, e);
    if
    :: policy(r) == CLOSE_SUBSCRIBER -> END(); Q.touched = 1
    :: else
    fi
  fi;
offered:
  skip
}

#ifdef RUNS
/* A block of two events, e and e + 1. */
inline OFFER_RUN(e) {
  atomic {
    ROOM(2);
    words = CAPACITY - (Q.accepted - Q.consumed_seen);
    taken = words;
    if
    :: taken != 0 -> words = 0; SETTLE_GAP(words)
    :: else
    fi
  }
  if
  :: taken != 0 ->
    atomic { APPEND(IS_RUN) }
    atomic { APPEND(e * 16 + taken); Q.accepted = Q.accepted + taken; Q.matched = Q.matched + taken; words = words + 2 }
    Q.written = Q.written + words
  :: else
  fi;
  if
  :: taken < 2 ->
    Q.matched = Q.matched + 2 - taken;
    LOSE(e + taken, e + 1)
  :: else
  fi;
  /* Losses have seen to that themselves. */
  atomic { Q.touched = (Q.touched || taken != 0); words = 0; taken = 0 }
}
#endif

inline FINISH_TURN() {
  r = 0;
  STEP { do
  :: r < RECEIVERS ->
    if
    :: Q.touched ->
      Q.touched = 0;
      if
      :: Q.parked ->
        atomic { taken = Q.parked; Q.waking = Q.parked; Q.parked = 0 }
        if
        :: atomic { taken -> Q.parker = WOKEN; Q.waking = 0 }
        :: else
        fi;
        taken = 0
      :: else
      fi
    :: else
    fi;
    r++
  :: else -> break
  od }
}

active proctype dispatcher() {
  byte r, e = 1, words, taken, k, evictions = EVICTIONS;
  do
  :: e <= EVENTS ->
    k = 0;
    if
    :: POLICY == LATEST_PER_KEY -> k = 1
    :: skip
    fi;
    if
    :: evictions > 0 ->
      evictions--;
      r = 0;
      do
      :: r < RECEIVERS ->
        if
        :: !Q.ended -> Q.matched++; LOSE(e, e)
        :: else
        fi;
        r++
      :: else -> break
      od;
      e++
    :: true ->
      r = 0;
      STEP { do
      :: r < RECEIVERS ->
        if
        :: Q.ended
#ifdef RUNS
        :: !Q.ended && e < EVENTS -> OFFER_RUN(e)
        :: !Q.ended && e == EVENTS -> OFFER(e)
#else
        :: !Q.ended -> OFFER(e)
#endif
        fi;
        r++
      :: else -> break
      od };
#ifdef RUNS
      e = (e < EVENTS -> e + 2 : e + 1)
#else
      e++
#endif
    fi;
    /* A turn may have more than one event. */
    if
#ifndef COARSE
    :: FINISH_TURN()
#else
    :: e == EVENTS + 1 -> FINISH_TURN()
#endif
    :: e <= EVENTS
    fi
  :: else -> break
  od;
  if
  :: skip -> r = 0;
    STEP { do
    :: r < RECEIVERS -> END(); Q.touched = 1; r++
    :: else -> break
    od };
    FINISH_TURN()
#ifndef COARSE
  :: skip
#endif
  fi;
  r = 0
}

/* --- the receiver --- */

inline SEE_EVENT(e) {
  assert(!Q.closed && Q.expected == e);
  Q.expected++;
  Q.received++
}

inline SEE_GAP(first, last) {
  assert(!Q.closed && Q.expected == first && last >= first);
  Q.expected = last + 1
}

inline RETIRE() {
  do
  :: Q.lent_count > 0 -> Q.lent_count--; Q.used[Q.lent_at + Q.lent_count] = 0
  :: else -> break
  od;
  Q.lent_at = 0
}

/* Part of next_words; a step by itself when it publishes the new head. */
inline NEXT_WORDS() {
  if
  :: Q.head_next == SEGMENT -> Q.head = Q.next[Q.head]; Q.head_next = 0
  :: else
  fi
}
#define WORD Q.word[Q.head * SEGMENT + Q.head_next]

inline TAKE_WORD(w) {
  NEXT_WORDS();
  w = WORD;
  assert(Q.used[Q.head * SEGMENT + Q.head_next]);
  Q.used[Q.head * SEGMENT + Q.head_next] = 0;
  Q.head_next++;
  Q.read++
}

inline LEND_RUN() {
  n = (Q.run_left < LIMIT -> Q.run_left : LIMIT);
  got = n;
  Q.consumed = Q.consumed + n;
  do
  :: n > 0 -> SEE_EVENT(Q.run_next); Q.run_next++; Q.run_left--; n--
  :: else -> break
  od;
  Q.run_next = (Q.run_left == 0 -> 0 : Q.run_next)
}

inline LEND_STREAM() {
  atomic { RETIRE() }
  if
  :: atomic { Q.run_left != 0 -> LEND_RUN() }
  :: atomic { Q.run_left == 0 && Q.read == Q.written -> skip };
    if
    :: !Q.gap_open
    :: Q.gap_open ->
      /* take_open_gap, under the mutex */
      atomic {
        if
#ifdef M_GAP_NO_LOOK
        :: Q.gap_open ->
#else
        :: Q.gap_open && Q.read == Q.written ->
#endif
          SEE_GAP(Q.gap_first, Q.gap_last);
          Q.gap_open = 0; Q.gap_first = 0; Q.gap_last = 0;
          got = 1
        :: else
        fi
      }
    fi
  :: atomic { Q.run_left == 0 && Q.read != Q.written -> NEXT_WORDS() };
    if
    :: atomic { WORD < IS_GAP ->
        /* lend_singles: sees written_ once more */
        n = (Q.written - Q.read < SEGMENT - Q.head_next -> Q.written - Q.read : SEGMENT - Q.head_next);
        n = (n < LIMIT -> n : LIMIT);
        Q.lent_at = Q.head * SEGMENT + Q.head_next;
        got = 1;
        do
        :: got < n && Q.word[Q.lent_at + got] < IS_GAP -> got++
        :: else -> break
        od;
        n = 0;
        do
        :: n < got -> assert(Q.used[Q.lent_at + n]); SEE_EVENT(Q.word[Q.lent_at + n]); n++
        :: else -> break
        od;
        n = 0;
        Q.lent_count = got;
        Q.head_next = Q.head_next + got;
        Q.read = Q.read + got
#ifdef M_HEAD_EARLY
        ; NEXT_WORDS()
#endif
      };
      Q.consumed = Q.consumed + got
    :: atomic { WORD == IS_GAP -> TAKE_WORD(w) };
      atomic { TAKE_WORD(w); SEE_GAP(w / 16, w % 16); got = 1; w = 0 }
    :: atomic { WORD == IS_RUN -> TAKE_WORD(w) };
      atomic { TAKE_WORD(w); Q.run_next = w / 16; Q.run_left = w % 16; w = 0 };
      atomic { LEND_RUN() }
    fi
  fi
}

inline LEND_LOCKED() {
  if
  :: Q.nodes == 0 && Q.after_first != 0 ->
    SEE_GAP(Q.after_first, Q.after_last);
    Q.after_first = 0; Q.after_last = 0; got = 1
  :: Q.nodes != 0 && Q.before_first[0] != 0 ->
    SEE_GAP(Q.before_first[0], Q.before_last[0]);
    Q.before_first[0] = 0; Q.before_last[0] = 0; got = 1
  :: else ->
    do
    :: Q.nodes != 0 && got < LIMIT && Q.before_first[0] == 0 -> SEE_EVENT(Q.node[0]); REMOVE_NODE(0); got++
    :: else -> break
    od
  fi
}

inline LEND() {
  STEP {
    got = 0;
    if
    :: LOCKED(r) -> atomic { LEND_LOCKED() }
    :: else -> LEND_STREAM()
    fi
  }
}

#define READABLE_STREAM (Q.run_left != 0 || Q.read != Q.written || Q.gap_open)
#define READABLE_LOCKED (Q.nodes != 0 || Q.after_first != 0)
#define READABLE (LOCKED(r) && READABLE_LOCKED || !LOCKED(r) && READABLE_STREAM || Q.ended)

proctype receiver(byte r) {
  byte got, n, w, timeouts = TIMEOUTS;
  do
  :: LEND();
    if
    :: got != 0
    :: got == 0 && Q.ended ->
#ifndef M_END_NO_LOOK
      LEND();
#endif
      if
      :: got != 0
      :: else -> Q.closed = 1; break
      fi
    :: got == 0 && !Q.ended ->
      /* park */
      STEP {
        Q.parked = 1;
#ifndef M_PARK_NO_LOOK
        if
        :: LOCKED(r) -> w = READABLE_LOCKED
        :: else ->
          /* readable(): one load after the other */
          if
          :: atomic { Q.run_left != 0 || Q.read != Q.written -> w = 1 }
          :: Q.run_left == 0 && Q.read == Q.written -> w = Q.gap_open
          fi
        fi;
        if
        :: w
        :: else -> w = Q.ended
        fi;
        if
        :: w ->
          w = 0;
          if
          :: atomic { Q.parked -> Q.parked = 0; goto again }
          :: !Q.parked
          fi
        :: else
        fi;
#endif
        /* Parker::wait */
        if
        :: atomic { Q.parker == IDLE -> Q.parker = ASLEEP }
        :: Q.parker == WOKEN
        fi
      };
end_parked:
      if
      :: atomic { Q.parker == WOKEN -> Q.parker = IDLE }
      :: atomic { timeouts > 0 && Q.parker != IDLE -> timeouts--; n = (Q.parker == WOKEN); Q.parker = IDLE }
        if
        :: n -> n = 0
        :: else ->
#ifndef M_TIMEOUT_NO_WAIT
          if
          :: atomic { Q.parked -> Q.parked = 0 }
          :: !Q.parked ->
            /* The waker is on its way. */
            Q.parker == WOKEN;
            Q.parker = IDLE
          fi;
#else
          Q.parked = 0
#endif
        fi
      fi;
      assert(!Q.waking)
    fi;
again:
#ifdef QUITS
    if
    :: Q.received > 0 -> Q.let_go = 1; break
    :: skip
    fi
#else
    skip
#endif
  od;
  assert(!Q.waking);
  atomic { got = 0; n = 0; w = 0; timeouts = 0 }
}

init {
  byte r;
  atomic {
    do
    :: r < RECEIVERS -> Q.expected = 1; run receiver(r); r++
    :: else -> break
    od;
    r = 0
  }
  timeout;
  do
  :: r < RECEIVERS ->
    atomic {
      /* The books, and no lost wake-up. */
      assert(Q.matched == Q.received + Q.lagged + (LOCKED(r) -> Q.nodes : Q.accepted - Q.consumed));
      assert(Q.let_go || Q.expected == Q.matched + 1);
      assert(Q.closed || Q.let_go || !READABLE);
      assert(!Q.closed || Q.ended);
      r++
    }
  :: else -> break
  od
}
