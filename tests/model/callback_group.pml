/* Callbacks on an executor: bus/internal/callback_group.hpp, callback_group_worker.cpp and async_callback_group.cpp,
 * with park and unpark of bus/internal/subscriber_state.cpp and bus/internal/group_inbox.hpp.
 *
 * In the model              In the C++
 *   dispatcher              offers events, then Fanout::finish_turn: take_parked, a chain, Worker::wake; Worker::publish
 *   WAKE, ADD, SHOW         Worker::wake, add: the chain ready_ through Waiter::next; publish, show: the inbox
 *   SCHEDULE, DISCARD       Worker::go, send_job_or_rest, discard: scheduled_, then a job, or what came is thrown away
 *   executor                a thread of the executor: a Job runs Worker::drain, or is thrown away (dropped) with DROPS
 *                           in a JobTail the executor's thread was the dispatcher before: one of the orders seen here;
 *                           such a one becomes the consumer first and keeps the chain to itself
 *   TURN_TO, TELL           Worker::turn_to, tell_stoppers: at_work_, stoppers_, moved_on_ with the mutex `ends`
 *   RUN                     Member::run with lend, callback, and park; the budget is BUDGET events
 *   TAKE                    Worker::take, Member::take: one entry of the inbox
 *   STOP, FINISH            Member::stop with Worker::wait_for_end_of; finish
 *   user                    CallbackGroup::subscribe (begin), drops the group, stops both members and lets them go
 *   INSIDE                  a callback stops its own member (1), or the other one of its worker (2)
 *   refs, kept, group_refs  the use counts of a Member and of the Worker; kept_
 *
 * The first INBOXES members get their events by the inbox, the others are parked at a queue of their own. Each load,
 * store or read-modify-write of parked_, ready_, scheduled_, the inbox's written_, stopped_, at_work_ and stoppers_ is a
 * step, sequentially consistent. In the C++ ready_, scheduled_ and written_ are seq_cst; the asymmetric fences stand
 * between the stores and loads of stopped_, at_work_ and stoppers_; parked_ see subscriber_queue.pml; `kept` and `next`
 * are plain, and asserted to have one owner. What a queue holds is a counter. Gaps, looks and backlogs are left out:
 * they are entries like events, and the worker's own.
 *
 * Asserted: one thread at a time is the consumer; a member is received from by one thread at a time; no callback begins
 * after stop() returned (or, from inside, after the callback that called it); no member, worker or subscription is
 * touched after it was destroyed; `kept` is let go of exactly once, so when nobody can move, every member that was let
 * go and the worker are gone; stop() returns; no member sleeps with something to receive; nothing waits in ready_ or in
 * the inbox.
 *
 * ONCE_…: what the C++ once did: see the runner.
 */
#ifndef EVENTS
#define EVENTS 2
#endif
#ifndef EXECUTORS
#define EXECUTORS 1
#endif
#ifndef BUDGET
#define BUDGET 1
#endif
#ifndef INSIDE
#define INSIDE 0
#endif
#ifndef INBOXES
#define INBOXES 1
#endif
#define MEMBERS 2
#define NONE 255
#define EVENT 0
#define LAST 1

bit kept[MEMBERS];
byte refs[MEMBERS] = 1; /* the user's handle */
byte next[MEMBERS];
bit parked[MEMBERS], ended[MEMBERS];
byte available[MEMBERS];
bit has_subscription[MEMBERS] = 1;
byte users[MEMBERS]; /* calls into the subscription's consumer side that are on their way */
bit stopped[MEMBERS], finished[MEMBERS];

bit handle[MEMBERS];  /* the user has it */

byte ready; /* 0, or member + 1 */
byte inbox[8]; /* 2 * member + EVENT or LAST */
byte pushed, written, read_at;
bit in_table[MEMBERS] = 1;
bit scheduled;
byte jobs;
byte members = MEMBERS;
byte at_work; /* 0, or member + 1 */
byte runner = NONE;
byte stoppers;
bit ends;   /* the mutex */
bit asleep; /* on moved_on_; only the user ever is */
byte worker_refs = 1 + MEMBERS; /* the group and the members; jobs come on top */

/* Ghosts. */
bit gone[MEMBERS], worker_gone, context_gone, calling[MEMBERS], stop_returned[MEMBERS], stopped_inside[MEMBERS];
bit dropped;
byte consumers;

#define ALIVE(m) assert(!gone[m])
#define HAS_INBOX(m) (m < INBOXES)

inline RELEASE_WORKER() {
  worker_refs--;
  if
  :: worker_refs == 0 -> assert(!worker_gone && ready == 0 && read_at == pushed); worker_gone = 1
  :: else
  fi
}

/* The last reference takes the member down. */
inline RELEASE(m) {
  ALIVE(m);
  refs[m]--;
  if
  :: refs[m] == 0 ->
    assert(!kept[m] && !parked[m] && !calling[m] && users[m] == 0);
    gone[m] = 1;
    has_subscription[m] = 0;
    RELEASE_WORKER()
  :: else
  fi
}

/* --- Worker --- */

inline POST() { worker_refs++; jobs++ }

inline ADD(first, last) {
  /* The load and the exchange that fails until nobody came in between. */
  atomic {
    assert(!worker_gone);
    ALIVE(last - 1);
    next[last - 1] = ready;
    ready = first
  }
}

#define IDLE(at) (ready == 0 && written == at)

inline FORGET(m) { assert(kept[m]); kept[m] = 0; RELEASE(m) }

/* discard(): sets threw when nobody is to be run. The consumer's. */
inline DISCARD() {
  end = written;
  if
  :: dropped ->
    atomic { dropped_chain = ready; ready = 0 };
    do
    :: atomic { dropped_chain != 0 ->
        dropped_one = dropped_chain - 1;
        ALIVE(dropped_one);
        dropped_chain = next[dropped_one];
        FORGET(dropped_one)
      }
    :: dropped_chain == 0 -> break
    od;
    threw = 1
  :: !dropped ->
    threw = (members == 0 && ready == 0)
  fi;
  do
  :: atomic { threw && read_at != end ->
      dropped_one = inbox[read_at];
      read_at++;
      if
      :: dropped_one % 2 == LAST -> dropped_one = dropped_one / 2; FORGET(dropped_one)
      :: else ->
        /* Nobody who is there loses an event. */
        assert(dropped || stopped[dropped_one / 2])
      fi;
      dropped_one = 0
    }
  :: !threw || read_at == end -> break
  od
}

inline SCHEDULE() {
  do
  :: scheduled -> break
  :: atomic { !scheduled -> scheduled = 1; assert(consumers == 0); consumers = 1 };
    DISCARD();
    if
    :: !threw -> atomic { assert(!worker_gone); consumers = 0; POST(); break }
    :: else -> atomic { threw = 0; at = read_at; consumers = 0; scheduled = 0 }
    fi;
    if
    :: IDLE(at) -> break
    :: !IDLE(at)
    fi
  od;
  atomic { end = 0; at = 0 }
}

inline WAKE(first, last) {
#ifdef ONCE_WAKE
  ADD(first, last);
  atomic { assert(!worker_gone); skip }
  SCHEDULE()
#else
  atomic { assert(!worker_gone); worker_refs++ }
  ADD(first, last);
  SCHEDULE();
  atomic { RELEASE_WORKER() }
#endif
}

inline SHOW() {
  atomic { assert(!worker_gone); worker_refs++ }
  written = pushed;
#ifdef M_SHOW_NO_WAKE
  skip;
#else
  SCHEDULE();
#endif
  atomic { RELEASE_WORKER() }
}

/* tell_stoppers */
inline TELL() {
#ifndef M_TELL_NO_LOCK
  atomic { !ends -> ends = 1 };
  ends = 0;
#endif
#ifndef M_NO_NOTIFY
  asleep = 0
#else
  skip
#endif
}

inline TURN_TO(who) {
  at_work = who;
  if
  :: stoppers != 0 -> TELL()
  :: stoppers == 0
  fi
}

/* --- Member --- */

#define READABLE(m) (available[m] != 0 || ended[m])

/* SubscriberState::park. Sets ok. */
inline SUBSCRIPTION_PARK(m) {
  atomic { assert(!parked[m]); parked[m] = 1 }
#ifdef M_PARK_NO_LOOK
  ok = 1;
#else
  /* The look is on the consumer's side of the queue. */
  atomic { assert(has_subscription[m] && users[m] == 0); ok = !READABLE(m) }
  if
  :: ok
  :: else ->
    if
    :: atomic { parked[m] -> parked[m] = 0; ok = 0 }
    :: atomic { !parked[m] -> ok = 1 }
    fi
  fi;
#endif
}

/* Under the mutex, so one step. */
inline FINISH(m) {
  atomic {
    !ends ->
    ALIVE(m);
    if
    :: !finished[m] ->
      finished[m] = 1;
      assert(has_subscription[m] && users[m] == 0);
      has_subscription[m] = 0;
      members--;
      if
      :: parked[m] -> parked[m] = 0; FORGET(m)
      :: else
      fi
    :: else
    fi
  }
}

/* Member::park: ok when it sleeps, and then kept has what keep had. */
inline MEMBER_PARK(m) {
  atomic { assert(!kept[m]); kept[m] = 1; keep = 0 }
  SUBSCRIPTION_PARK(m);
  if
  :: ok
  :: else -> atomic { assert(kept[m]); kept[m] = 0; keep = 1 }
  fi
}

inline STOP(m) {
  ALIVE(m);
  stopped[m] = 1;
  stoppers++;
  over = 1;
  if
  :: at_work == m + 1 ->
    if
    :: runner == _pid -> over = 0
    :: runner != _pid ->
#ifndef M_STOP_NO_WAIT
      atomic { !ends -> ends = 1 };
      do
      :: at_work != m + 1 -> break
      :: at_work == m + 1 ->
        atomic { assert(!asleep); ends = 0; asleep = 1 };
        !asleep;
        atomic { !ends -> ends = 1 }
      od;
      ends = 0
#else
      skip
#endif
    fi
  :: at_work != m + 1
  fi;
  stoppers--;
  if
  :: over -> FINISH(m); atomic { over = 0; stop_returned[m] = 1 }
  :: !over
  fi
}

/* The callback, which may stop members. The user's handle goes with it. */
inline CALL(m) {
  atomic { assert(!stop_returned[m] && !calling[m] && !gone[m]); calling[m] = 1 }
#if INSIDE != 0
  x = (INSIDE == 1 -> m : 1 - m);
  if
  :: atomic { handle[x] -> handle[x] = 0 };
    STOP(x);
    atomic { stopped_inside[x] = 1; RELEASE(x) }
  :: atomic { !handle[x] }
  :: skip
  fi;
  x = 0;
#endif
  atomic {
    calling[m] = 0;
#if INSIDE == 1
    stop_returned[m] = stop_returned[m] || stopped_inside[m]
#endif
  }
}

/* Of one that is parked. True in `again`: there is more to do. Afterwards the member may be gone. */
inline RUN(m) {
  again = 0;
  atomic { ALIVE(m); assert(kept[m]); kept[m] = 0; keep = 1 }
  if
  :: stopped[m] -> skip
  :: !stopped[m] ->
    budget = BUDGET;
    closed = 0;
    nothing = 0;
    do
    :: atomic { budget == 0 || closed || stopped[m] -> break }
    :: atomic { budget != 0 && !closed && !stopped[m] ->
        assert(has_subscription[m] && users[m] == 0);
        users[m]++
      };
      if
      :: atomic { available[m] != 0 -> available[m]--; budget--; users[m]-- };
        CALL(m)
      :: atomic { available[m] == 0 && ended[m] -> closed = 1; users[m]-- };
        CALL(m)
      :: atomic { available[m] == 0 && !ended[m] -> nothing = 1; users[m]--; break }
      fi
    od;
    if
    :: atomic { closed || stopped[m] -> skip };
      FINISH(m)
    :: atomic { !closed && !stopped[m] -> ok = 0 };
      if
      :: nothing -> MEMBER_PARK(m)
      :: else
      fi;
      if
      :: ok
      :: else -> atomic { assert(!kept[m]); kept[m] = keep; keep = 0; again = 1 }
      fi
    fi;
    atomic { closed = 0; nothing = 0; ok = 0; budget = 0 }
  fi;
  if
  :: keep -> atomic { keep = 0; RELEASE(m) }
  :: else
  fi
}

/* An entry of the inbox: m, and closed for the last one. */
inline TAKE(m) {
#ifdef M_LOOK_EARLY
  ok = stopped[m];
  TURN_TO(m + 1);
#else
  TURN_TO(m + 1);
  ok = stopped[m];
#endif
  if
  :: ok
  :: !ok ->
    atomic { ALIVE(m); assert(kept[m] && users[m] == 0) }
    if
    :: !closed || ended[m] -> CALL(m)
    :: else
    fi;
    if
    :: closed -> stopped[m] = 1
    :: else
    fi;
    if
    :: stopped[m] -> FINISH(m)
    :: !stopped[m]
    fi
  fi;
  ok = 0;
  if
  :: closed -> TURN_TO(0); atomic { FORGET(m) }
  :: else
  fi
}

/* --- who does it --- */

proctype executor() {
  byte chain, m, first, last, budget, x;
  byte end, at, dropped_chain, dropped_one;
  bit keep, again, ok, nothing, closed, threw, over;
end_executor:
  do
#ifdef DROPS
  :: atomic { jobs > 0 && !context_gone -> jobs--; context_gone = 1; assert(consumers == 0); consumers = 1 };
    dropped = 1;
    DISCARD();
    atomic { threw = 0; at = read_at; consumers = 0; scheduled = 0 };
    if
    :: IDLE(at)
    :: !IDLE(at) -> SCHEDULE()
    fi;
    atomic { end = 0; at = 0; RELEASE_WORKER() }
#endif
  :: atomic { jobs > 0 && !context_gone -> jobs--; assert(consumers == 0); consumers = 1; runner = _pid };
    atomic { chain = ready; ready = 0 };
    do
    :: chain != 0 ->
      atomic { m = chain - 1; ALIVE(m); chain = next[m] };
      TURN_TO(m + 1);
      RUN(m);
      if
      :: again ->
        atomic {
          again = 0;
          ALIVE(m);
          next[m] = 0;
          if
          :: first == 0 -> first = m + 1
          :: else -> next[last - 1] = m + 1
          fi;
          last = m + 1
        }
      :: else
      fi
    :: else -> break
    od;
    m = 0;
    if
    :: first != 0 -> ADD(first, last); first = 0; last = 0
    :: else
    fi;
    end = written;
    do
    :: atomic { read_at != end -> m = inbox[read_at] / 2; closed = inbox[read_at] % 2; read_at++ };
      TAKE(m);
      atomic { closed = 0; m = 0 }
    :: read_at == end -> break
    od;
    TURN_TO(0);
    atomic { runner = NONE; at = read_at };
    if
    :: atomic { !IDLE(at) -> consumers = 0; POST() }
    :: IDLE(at) ->
      atomic { consumers = 0; scheduled = 0 };
#ifndef M_DRAIN_NO_LOOK
      if
      :: !IDLE(at) -> SCHEDULE()
      :: IDLE(at)
      fi
#endif
    fi;
    atomic { end = 0; at = 0; RELEASE_WORKER() }
  od
}

inline TAKE_AND_CHAIN(m) {
  atomic {
    if
    :: touched[m] && parked[m] ->
      parked[m] = 0;
      ALIVE(m);
      next[m] = 0;
      if
      :: first == 0 -> first = m + 1
      :: else -> next[last - 1] = m + 1
      fi;
      last = m + 1
    :: else
    fi;
    touched[m] = 0
  }
}

inline OFFER(m) {
  if
  :: HAS_INBOX(m) && in_table[m] -> inbox[pushed] = 2 * m + EVENT; pushed++
  :: HAS_INBOX(m) && !in_table[m]
  :: else -> available[m]++; touched[m] = 1
  fi
}

inline REMOVE(m) {
  if
  :: HAS_INBOX(m) && in_table[m] -> inbox[pushed] = 2 * m + LAST; pushed++; in_table[m] = 0
  :: else
  fi
}

inline FINISH_TURN() {
  TAKE_AND_CHAIN(0);
  TAKE_AND_CHAIN(1);
  if
  :: first != 0 -> WAKE(first, last); first = 0; last = 0
  :: else
  fi;
  if
  :: pushed != written -> SHOW()
  :: else
  fi
}

proctype dispatcher() {
  byte events = EVENTS, first, last;
  byte end, at, dropped_chain, dropped_one;
  bit touched[MEMBERS];
  bit threw;
  do
  :: events > 0 ->
    atomic {
      if
      :: true -> OFFER(0)
      :: true -> OFFER(1)
      :: true -> OFFER(0); OFFER(1)
      fi;
      events--
    }
    FINISH_TURN()
  :: else -> break
  od;
#ifdef CLOSES
  atomic {
    ended[0] = 1;
    ended[1] = 1;
    touched[0] = !HAS_INBOX(0);
    touched[1] = !HAS_INBOX(1);
    REMOVE(0);
    REMOVE(1)
  }
  FINISH_TURN();
#endif
  /* Collects those whose handle is gone. */
end_dispatcher:
  do
  :: atomic { HAS_INBOX(0) && in_table[0] && !has_subscription[0] -> REMOVE(0) };
    FINISH_TURN()
  :: atomic { HAS_INBOX(1) && in_table[1] && !has_subscription[1] -> REMOVE(1) };
    FINISH_TURN()
  od
}

inline START(m) {
#ifdef ONCE_START
  atomic { refs[m]++; assert(!kept[m]); kept[m] = 1 }
  if
  :: HAS_INBOX(m)
  :: else ->
    SUBSCRIPTION_PARK(m);
    if
    :: ok
    :: else ->
      WAKE(m + 1, m + 1)
    fi
  fi
#else
  if
  :: HAS_INBOX(m)
  :: else -> WAKE(m + 1, m + 1)
  fi
#endif
}

inline STOP_AND_LET_GO(m) {
  if
  :: atomic { handle[m] -> handle[m] = 0 };
    STOP(m);
    atomic { RELEASE(m) }
  :: !handle[m]
  fi
}

active proctype user() {
  byte i;
  byte end, at, dropped_chain, dropped_one;
  bit ok, threw, over;
  /* A member is kept before events may come for it. */
#ifndef ONCE_START
  atomic { refs[0]++; kept[0] = 1; refs[1]++; kept[1] = 1 }
#endif
  atomic {
    run dispatcher();
    do
    :: i < EXECUTORS -> run executor(); i++
    :: else -> break
    od;
    i = 0
  }
  START(0);
  START(1);
  atomic { handle[0] = 1; handle[1] = 1 }
  atomic { RELEASE_WORKER() }
#ifndef STAYS
  STOP_AND_LET_GO(0);
#endif
  STOP_AND_LET_GO(1);
  timeout;
#ifndef DROPS
  assert(jobs == 0 && ready == 0 && !scheduled && read_at == written);
#endif
#ifdef STAYS
  assert(gone[1] && !gone[0]);
  assert(finished[0] || HAS_INBOX(0) || parked[0] && !READABLE(0))
#else
  assert(gone[0] && gone[1]);
  assert(worker_gone)
#endif
}
