/* Who dispatches, and that nothing stays behind: bus/internal/bus_core.cpp with the parker of bus/internal/parker.cpp.
 *
 * In the model                 In the C++ (BusCore unless said otherwise)
 *   publisher                  publish: Ingress::push draws a ticket and writes the event, then notify_dispatcher
 *   commander                  post_command under registry_mutex_ and side_mutex_, then notify_dispatcher_of_command
 *   helper                     poll(1); with FLUSH flush(); with CLOSE_INSIDE a callback of its turn calls close()
 *   trier                      try_publish or publish_when_room without credit: dispatch_one_turn, then they give up
 *   closer                     close from outside
 *   engine (THREAD)            run;  PARK is Parker::wait, WAKE Parker::wake (block; futex: look and sleep is one step)
 *   worker (EXECUTOR)          run_job on one of two threads of the scheduler; with LINGERS it may look again
 *   LOCK, UNLOCK               lock with lock_waiters_, unlock
 *   RUN_TURN, HAS_WORK         run_turn with settle_side_until and finish_close_if_drained; has_work
 *   PENDING_WORK               pending_work: tickets drawn, even if half written
 *
 * A ticket is drawn in one step and the event written in another. Each look at a shared variable is a step, and steps
 * are sequentially consistent, with one exception: the release store that completes an event may become visible after
 * the publisher's load of resting_ or scheduled_, as C++ allows; NOTIFY_EARLY is that order. Why the rest is enough:
 *  - lock, unlock and drive: every change of dispatching_ is a read-modify-write with acq_rel, so one that failed to
 *    take the lock is seen, with all that went before, by the unlock that comes after it.
 *  - lock_waiters_ is raised before such a read-modify-write and read after one: the same argument.
 *  - resting_, scheduled_, tail_ and head_ are seq_cst where one side writes one and looks at the other.
 *
 * Asserted: one dispatcher at a time; every accepted event is dispatched, in order; a command is applied behind the
 * events drawn before it and before those drawn after it was posted; when nobody can move any more, nothing is left to
 * do, close() has returned, and run() has, too.
 *
 * ONCE_… is what the C++ once did: see the runner. Left out: a full ingress (ingress.pml; make_room),
 * how the credit of back-pressure comes and goes, evictions.
 */
#if !defined(COMBINING) && !defined(THREAD) && !defined(EXECUTOR)
#define COMBINING
#endif
#ifndef PUBLISHERS
#define PUBLISHERS 2
#endif
#ifndef EACH
#define EACH 1
#endif
#define TICKETS 8
#define NEVER 99
#define WRITTEN 1
#define POPPED 2

byte tail, head;
bit closed;
byte turn[TICKETS];
byte side_next = NEVER;
bit registry_closed, finished;
bit dispatching;
byte lock_waiters;
bit asleep[4]; /* in lock(): 0 the engine or one worker, 1 the closer, 2 the helper */

bit resting, running = 1;
#define IDLE 0
#define ASLEEP 1
#define WOKEN 2
byte parker;
bit scheduled;
byte jobs;

/* Ghosts. */
byte dispatched, inside;
bit command_posted, command_done;
byte command_at;
bit after_command[TICKETS];
byte at_work = PUBLISHERS;

/* --- the lock --- */

#define TRY_LOCK(ok) atomic { ok = !dispatching; dispatching = 1 }

inline LOCK(who, ok) {
  lock_waiters++;
  do
  :: TRY_LOCK(ok);
    if
    :: ok -> break
    :: else
    fi;
    /* atomic::wait: sleeps only if the value is still the old one. */
    do
    :: atomic { dispatching -> asleep[who] = 1 };
      !asleep[who]
    :: !dispatching -> break
    od
  od;
  lock_waiters--
}

inline UNLOCK() {
  dispatching = 0;
#ifndef M_UNLOCK_NO_NOTIFY
  if
  :: atomic { lock_waiters != 0 -> asleep[0] = 0; asleep[1] = 0; asleep[2] = 0 }
  :: lock_waiters == 0
  fi
#endif
}

/* --- looking for work; x is scratch --- */

inline SIDE_OR_CLOSE_DUE(found, x) {
  x = side_next;
  if
  :: atomic { x <= head -> found = 1 }
  :: atomic { x > head -> found = 0 };
    if
    :: atomic { closed && !finished -> x = head };
      found = (x == tail)
    :: !closed || finished
    fi
  fi;
  x = 0
}

inline HAS_WORK(found, x) {
  x = head;
  if
  :: atomic { turn[x] == WRITTEN -> found = 1; x = 0 }
  :: atomic { turn[x] != WRITTEN -> found = 0 };
    SIDE_OR_CLOSE_DUE(found, x)
  fi
}

inline PENDING_WORK(found, x) {
#ifdef M_REST_READY
  HAS_WORK(found, x)
#else
  x = tail;
  if
  :: atomic { x != head -> found = 1; x = 0 }
  :: atomic { x == head -> found = 0 };
    SIDE_OR_CLOSE_DUE(found, x)
  fi
#endif
}

/* --- a turn --- */

inline APPLY_COMMAND() {
  assert(dispatched == command_at && !command_done);
  command_done = 1;
  side_next = NEVER
}

inline DISPATCH(ticket) {
  assert(dispatched == ticket);
  assert(!after_command[ticket] || command_done);
  dispatched++
}

/* Pops one or two, as pop_many does when a second one is written. n: events, x: scratch. */
inline RUN_TURN(n, x) {
  assert(inside == 0);
  inside = 1;
  n = 0;
  if
  :: atomic { turn[head] == WRITTEN -> n = 1 };
#if TURN == 2
    if
    :: atomic { turn[head + 1] == WRITTEN -> n = 2 }
    :: turn[head + 1] != WRITTEN
    fi
#endif
  :: turn[head] != WRITTEN
  fi;
  atomic {
    turn[head] = (n > 0 -> POPPED : turn[head]);
    turn[head + 1] = (n > 1 -> POPPED : turn[head + 1]);
    x = head;
    head = head + n
  }
  do
  :: n == 0 -> break
  :: else ->
    if
    :: atomic { side_next <= x -> APPLY_COMMAND() }
    :: side_next > x
    fi;
    atomic { DISPATCH(x); x++; n-- }
#if TURN == 2
    if
    :: atomic { n == 1 && x < side_next -> DISPATCH(x); x++; n-- }
    :: n != 1 || x >= side_next
    fi
#endif
#ifdef CLOSE_INSIDE
    if
    :: closed = 1 /* A callback calls close(), which returns at once. */
    :: skip
    fi
#endif
  od;
  x = head;
  if
  :: atomic { side_next <= x -> APPLY_COMMAND() }
  :: side_next > x
  fi;
  /* finish_close_if_drained */
  if
  :: atomic { !finished && closed && head == tail -> registry_closed = 1 };
    atomic {
      if
      :: side_next != NEVER -> APPLY_COMMAND()
      :: else
      fi;
      assert(!command_posted || command_done);
      finished = 1
    }
#if defined(THREAD) && !defined(ONCE_CLOSE_INSIDE)
    WAKE_ENGINE()
#endif
  :: finished || !closed || head != tail
  fi;
  atomic { x = 0; inside = 0 }
}

inline TURNS(found, n, x) {
  do
  :: HAS_WORK(found, x);
    if
    :: found -> RUN_TURN(n, x)
    :: else -> break
    fi
  od
}

inline DRIVE(ok, found, n, x) {
  do
  :: TRY_LOCK(ok);
    if
    :: !ok -> break
    :: else
    fi;
    TURNS(found, n, x);
    UNLOCK();
#ifdef M_UNLOCK_NO_LOOK
    break
#else
    HAS_WORK(found, x);
    if
    :: !found -> break
    :: else
    fi
#endif
  od;
  atomic { ok = 0; found = 0 }
}

/* --- the engines --- */

inline WAKE() { parker = WOKEN }

inline WAKE_ENGINE() {
  if
  :: atomic { resting -> resting = 0 };
    WAKE()
  :: !resting
  fi
}

inline PARK() {
  if
  :: atomic { parker == IDLE -> parker = ASLEEP };
end_parked:
    parker == WOKEN
  :: parker != IDLE
  fi;
  parker = IDLE
}

inline NOTIFY_OF_COMMAND(ok, found, n, x) {
#ifdef COMBINING
  DRIVE(ok, found, n, x)
#endif
#ifdef THREAD
  WAKE_ENGINE()
#endif
#ifdef EXECUTOR
  SCHEDULE_JOB()
#endif
}

inline SCHEDULE_JOB() {
  if
  :: atomic { !scheduled -> scheduled = 1 };
    jobs++
  :: scheduled
  fi
}

/* What publish sees when it looks whether somebody has to be woken. */
#ifdef THREAD
#define NEEDS_WAKING resting
#endif
#ifdef EXECUTOR
#define NEEDS_WAKING (!scheduled)
#endif

proctype publisher() {
  byte made, ticket, n, x;
  bit ok, found;
  do
  :: made == EACH -> break
  :: else ->
    if
    :: atomic { closed -> goto done }
    :: atomic { !closed -> ticket = tail; tail++; after_command[ticket] = command_posted }
    fi;
    made++;
#ifdef COMBINING
    turn[ticket] = WRITTEN;
    DRIVE(ok, found, n, x)
#else
    if
    :: turn[ticket] = WRITTEN;
      ok = NEEDS_WAKING
    :: ok = NEEDS_WAKING; /* NOTIFY_EARLY */
      turn[ticket] = WRITTEN
    fi;
    if
    :: ok -> NOTIFY_OF_COMMAND(ok, found, n, x)
    :: else
    fi;
    ok = 0
#endif
  od;
done:
  atomic { ticket = 0; at_work-- }
}

#ifdef COMMAND
proctype commander() {
  byte n, x;
  bit ok, found;
  if
  :: atomic { !registry_closed -> command_posted = 1; command_at = tail; side_next = tail };
    NOTIFY_OF_COMMAND(ok, found, n, x)
  :: registry_closed
  fi
}
#endif

#ifdef CLOSER
proctype closer() {
  byte n, x;
  bit ok, found;
  closed = 1;
  do
  :: finished -> break
  :: !finished ->
    LOCK(1, ok);
    TURNS(found, n, x);
    UNLOCK()
  od;
#ifdef THREAD
  NOTIFY_OF_COMMAND(ok, found, n, x)
#endif
}
#endif

#ifdef TRIER
/* try_publish and publish_when_room without credit: they help while something is pending, then give up. */
proctype trier() {
  byte n, x;
  bit ok, found;
  do
  :: x = tail;
    if
    :: atomic { x == head -> break }
    :: atomic { x != head -> x = 0 }
    fi;
    TRY_LOCK(ok);
    if
    :: ok -> RUN_TURN(n, x); UNLOCK()
    :: else -> break
    fi
  od;
  x = 0;
#if defined(COMBINING) && !defined(ONCE_TRIER)
  DRIVE(ok, found, n, x)
#endif
}
#endif

#ifdef HELPER
proctype helper() {
  byte n, x, target;
  bit ok, found;
#ifdef FLUSH
  target = tail;
  do
  :: LOCK(2, ok);
    do
    :: HAS_WORK(found, x);
      if
      :: found ->
        if
        :: head < target -> RUN_TURN(n, x)
        :: head >= target ->
          SIDE_OR_CLOSE_DUE(found, x);
          if
          :: found -> RUN_TURN(n, x)
          :: else -> break
          fi
        fi
      :: else -> break
      fi
    od;
    ok = (head >= target);
    UNLOCK();
    if
    :: ok -> break
    :: else
    fi
  od;
#else
  TRY_LOCK(ok);
  if
  :: ok ->
    HAS_WORK(found, x);
    if
    :: found -> RUN_TURN(n, x)
    :: else
    fi;
    UNLOCK()
  :: else -> goto done
  fi;
#endif
#if defined(COMBINING) && !defined(M_POLL_NO_DRIVE)
  DRIVE(ok, found, n, x);
#endif
done:
  skip
}
#endif

#ifdef THREAD
active proctype engine() {
  byte n, x;
  bit ok, found;
  do
  :: LOCK(0, ok);
    TURNS(found, n, x);
    UNLOCK();
    if
    :: finished -> break
    :: !finished
    fi;
    resting = 1;
#ifndef M_RUN_NO_LOOK
    PENDING_WORK(found, x);
    if
    :: found || finished -> found = 0; resting = 0
    :: else ->
      PARK()
    fi
#else
    PARK()
#endif
  od;
  running = 0
}
#endif

#ifdef EXECUTOR
active[2] proctype worker() {
  byte n, x;
  bit ok, found;
end_worker:
  do
  :: atomic { jobs > 0 -> jobs-- };
    TRY_LOCK(ok);
    if
    :: ok ->
      HAS_WORK(found, x);
      if
      :: found -> RUN_TURN(n, x)
      :: else
      fi;
      UNLOCK()
    :: else
    fi;
    ok = 0;
    PENDING_WORK(found, x);
    if
    :: found -> jobs++
#ifdef LINGERS
    :: !found -> jobs++
#endif
    :: !found ->
      scheduled = 0;
#ifndef M_JOB_NO_LOOK
      PENDING_WORK(found, x);
      if
      :: found -> SCHEDULE_JOB()
      :: else
      fi
#endif
    fi;
    found = 0
  od
}
#endif

/* Starts everything, and judges when nobody can move. */
init {
  byte i;
  atomic {
    do
    :: i < PUBLISHERS -> run publisher(); i++
    :: else -> break
    od;
    i = 0;
#ifdef COMMAND
    run commander();
#endif
#ifdef CLOSER
    run closer();
#endif
#ifdef TRIER
    run trier();
#endif
#ifdef HELPER
    run helper();
#endif
  }
  timeout;
  assert(dispatched == tail && head == tail);
  assert(command_done == command_posted);
  assert(!dispatching && lock_waiters == 0);
  assert(at_work == 0);
#if defined(CLOSER)
  assert(finished);
#endif
#ifdef THREAD
  assert(!finished || !running);
#endif
}
