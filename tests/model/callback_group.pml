/* Callbacks on an executor: bus/async_callback_group.cpp, with park and unpark of bus/internal/subscriber_state.cpp.
 *
 * In the model              In the C++
 *   dispatcher              offers events, then Fanout::wake_touched: take_parked, a chain, Worker::wake
 *   WAKE, ADD               Worker::wake, add: the chain ready_ through Waiter::next, then scheduled_, then a job
 *   executor                a thread of the executor: a Job runs Worker::drain, or is thrown away (drop_all) with DROPS
 *   RUN                     Member::run with lend, callback, park and leave; the budget is BUDGET events
 *   STOP, FINISH            Member::stop, finish
 *   user                    CallbackGroup::subscribe (start), drops the group, stops both members and lets them go
 *   INSIDE                  a callback stops its own member (1), or the other one of its worker (2)
 *   refs, kept, group_refs  the use counts of a Member and of the Worker; kept_
 *
 * Each load, store or read-modify-write of state_, parked_, ready_ and scheduled_ is a step, sequentially consistent. In
 * the C++ ready_ and scheduled_ are seq_cst; state_ is changed by read-modify-write with acq_rel only; parked_ see
 * subscriber_queue.pml; `kept` and `next` are plain, and asserted to have one owner. What a queue holds is a counter.
 *
 * Asserted: a member is run by one thread at a time and received from by one thread at a time; no callback begins after
 * stop() returned (or, from inside, after the callback that called it); no member, worker or subscription is touched
 * after it was destroyed; `kept` is let go of exactly once, so when nobody can move, every member that was let go and
 * the worker are gone; stop() returns; no member sleeps with something to receive; nothing waits in ready_.
 *
 * ONCE_… is what the C++ once did: see the runner.
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
#define MEMBERS 2
#define NONE 255
#define STOPPED 3
#define STOPPING 2
#define RUNNING 1
#define IDLE 0

byte state[MEMBERS];
byte runner[MEMBERS] = NONE;
bit kept[MEMBERS];
byte refs[MEMBERS] = 1; /* the user's handle */
byte next[MEMBERS];
bit parked[MEMBERS], ended[MEMBERS];
byte available[MEMBERS];
bit has_subscription[MEMBERS] = 1;
byte users[MEMBERS]; /* calls into the subscription's consumer side that are on their way */
bit waiting[MEMBERS]; /* in stop(), asleep on state_ */

bit handle[MEMBERS];  /* the user has it */

byte ready; /* 0, or member + 1 */
bit scheduled;
byte jobs;
byte worker_refs = 1 + MEMBERS; /* the group and the members; jobs come on top */

/* Ghosts. */
bit gone[MEMBERS], worker_gone, context_gone, calling[MEMBERS], stop_returned[MEMBERS], stopped_inside[MEMBERS];
bit dropped;

#define ALIVE(m) assert(!gone[m])

inline RELEASE_WORKER() {
  worker_refs--;
  if
  :: worker_refs == 0 -> assert(!worker_gone && ready == 0); worker_gone = 1
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

inline SCHEDULE() {
  if
  :: atomic { !scheduled -> scheduled = 1 };
    atomic { assert(!worker_gone); POST() }
  :: scheduled
  fi
}

/* The executor's context is gone: nobody will be run any more. */
inline DROP_ALL() {
  atomic { dropped_chain = ready; ready = 0 };
  do
  :: atomic { dropped_chain != 0 ->
      dropped_one = dropped_chain - 1;
      ALIVE(dropped_one);
      dropped_chain = next[dropped_one];
      assert(kept[dropped_one]);
      kept[dropped_one] = 0;
      RELEASE(dropped_one)
    }
  :: dropped_chain == 0 -> break
  od;
  dropped_one = 0
}

inline WAKE(first, last) {
#ifdef ONCE_WAKE
  ADD(first, last);
  atomic { assert(!worker_gone); skip }
  SCHEDULE()
#else
  atomic { assert(!worker_gone); worker_refs++ }
  ADD(first, last);
#if defined(DROPS) && !defined(ONCE_DROP)
  if
  :: dropped -> DROP_ALL()
  :: !dropped -> SCHEDULE()
  fi;
#else
  SCHEDULE();
#endif
  atomic { RELEASE_WORKER() }
#endif
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

inline FINISH(m) {
  if
  :: atomic { parked[m] -> parked[m] = 0; assert(kept[m]); kept[m] = 0; got = 1 }
  :: atomic { !parked[m] -> got = 0 }
  fi;
  atomic { assert(has_subscription[m] && users[m] == 0); has_subscription[m] = 0 }
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
  do
  :: atomic { state[m] == STOPPED || state[m] == STOPPING -> break }
  :: atomic { state[m] == RUNNING -> state[m] = STOPPING; break }
  :: atomic { state[m] == IDLE -> state[m] = STOPPED };
    FINISH(m);
    if
    :: got -> atomic { got = 0; RELEASE(m) }
    :: else
    fi;
    break
  od;
  if
  :: runner[m] == _pid
  :: runner[m] != _pid ->
#ifndef M_STOP_NO_WAIT
    do
    :: state[m] == STOPPED -> break
    :: atomic { state[m] != STOPPED -> waiting[m] = 1 };
      !waiting[m]
    od;
#endif
    stop_returned[m] = 1
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

/* True in `again`: there is more to do. Afterwards the member may be gone. */
inline RUN(m) {
  again = 0;
  atomic { ALIVE(m); assert(kept[m]); kept[m] = 0; keep = 1 }
  if
  :: atomic { state[m] != IDLE -> skip }
  :: atomic { state[m] == IDLE -> state[m] = RUNNING };
    runner[m] = _pid;
    budget = BUDGET;
    closed = 0;
    nothing = 0;
    do
    :: atomic { budget == 0 || closed || state[m] == STOPPING -> break }
    :: atomic { budget != 0 && !closed && state[m] != STOPPING ->
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
    ok = 0;
    if
    :: atomic { closed || state[m] == STOPPING -> again = 0 }
    :: atomic { !closed && state[m] != STOPPING -> again = 1 };
      if
      :: nothing -> MEMBER_PARK(m); again = !ok
      :: else
      fi
    fi;
    /* leave */
    runner[m] = NONE;
    if
    :: atomic { !closed && state[m] == RUNNING -> state[m] = IDLE }
    :: atomic { closed && state[m] == RUNNING -> state[m] = STOPPED; got = 1 }
    :: atomic { state[m] == STOPPING -> got = 1 }
    fi;
    if
    :: got ->
      got = 0;
      FINISH(m);
      atomic { assert(!(keep && got)); keep = keep + got; got = 0 }
#ifdef M_LEAVE_NO_STORE
      skip;
#else
      atomic { ALIVE(m); state[m] = STOPPED };
#endif
#ifndef M_NO_NOTIFY
      waiting[m] = 0;
#endif
      again = 0
    :: else
    fi;
    if
    :: again -> atomic { assert(!kept[m]); kept[m] = keep; keep = 0 }
    :: else
    fi;
    atomic { closed = 0; nothing = 0; ok = 0; budget = 0 }
  fi;
  if
  :: keep -> atomic { keep = 0; RELEASE(m) }
  :: else
  fi
}

/* --- who does it --- */

proctype executor() {
  byte chain, m, first, last, budget, x, got;
#ifdef DROPS
  byte dropped_chain, dropped_one;
#endif
  bit keep, again, ok, nothing, closed;
end_executor:
  do
#ifdef DROPS
  :: atomic { jobs > 0 && !context_gone -> jobs--; context_gone = 1 };
    dropped = 1;
    DROP_ALL();
    atomic { RELEASE_WORKER() }
#endif
  :: atomic { jobs > 0 && !context_gone -> jobs-- };
    atomic { chain = ready; ready = 0 };
    do
    :: chain != 0 ->
      atomic { m = chain - 1; ALIVE(m); chain = next[m] };
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
    if
    :: atomic { ready != 0 -> POST() }
    :: ready == 0 ->
      scheduled = 0;
#ifndef M_DRAIN_NO_LOOK
      if
      :: ready != 0 -> SCHEDULE()
      :: ready == 0
      fi
#endif
    fi;
    atomic { RELEASE_WORKER() }
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

proctype dispatcher() {
  byte events = EVENTS, first, last;
#ifdef DROPS
  byte dropped_chain, dropped_one;
#endif
  bit touched[MEMBERS];
  do
  :: events > 0 ->
    atomic {
      if
      :: available[0]++; touched[0] = 1
      :: available[1]++; touched[1] = 1
      :: available[0]++; available[1]++; touched[0] = 1; touched[1] = 1
      fi;
      events--
    }
    TAKE_AND_CHAIN(0);
    TAKE_AND_CHAIN(1);
    if
    :: first != 0 -> WAKE(first, last); first = 0; last = 0
    :: else
    fi
  :: else -> break
  od;
#ifdef CLOSES
  ended[0] = 1;
  ended[1] = 1;
  touched[0] = 1;
  touched[1] = 1;
  TAKE_AND_CHAIN(0);
  TAKE_AND_CHAIN(1);
  if
  :: first != 0 -> WAKE(first, last); first = 0; last = 0
  :: else
  fi
#endif
}

inline START(m) {
#ifdef ONCE_START
  atomic { refs[m]++; assert(!kept[m]); kept[m] = 1 }
  SUBSCRIPTION_PARK(m);
  if
  :: ok
  :: else ->
    WAKE(m + 1, m + 1)
  fi
#else
  atomic { refs[m]++; kept[m] = 1 }
  WAKE(m + 1, m + 1)
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
  byte got, i;
  bit ok;
#ifdef DROPS
  byte dropped_chain, dropped_one;
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
  assert(jobs == 0 && ready == 0 && !scheduled);
#endif
#ifdef STAYS
  assert(gone[1] && !gone[0]);
  assert(state[0] == STOPPED || parked[0] && !READABLE(0))
#else
  assert(gone[0] && gone[1]);
  assert(worker_gone)
#endif
}
