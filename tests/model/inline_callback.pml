/* Letting go of an inline subscription while the dispatcher may be calling it: SubscriberState::call_inline and let_go.
 *
 * In the model     In the C++
 *   dispatcher     call_inline, once for each event
 *   owner          let_go, from the thread that drops the handle; with INSIDE it may be the callback that does it
 *
 * Each access to `calling` and `let_go_` is a step; all of them are seq_cst in the C++, which the model takes literally.
 * `caller` is relaxed: it can only be equal to the reader's own id if the reader itself stored it.
 *
 * Asserted: no callback runs once let_go() has returned (from inside: none begins any more); let_go() returns.
 */
#ifndef EVENTS
#define EVENTS 3
#endif

bit calling, let_go;
bit asleep; /* in let_go(), on `calling` */
byte caller;

/* Ghosts. */
bit in_callback, returned, returned_inside;

inline LET_GO() {
  let_go = 1;
#ifndef M_NO_WAIT
  do
  :: !calling -> break
  :: calling ->
    if
    :: caller == _pid -> break
    :: caller != _pid ->
      if
      :: atomic { calling -> asleep = 1 };
        !asleep
      :: !calling
      fi
    fi
  od
#endif
}

active proctype dispatcher() {
  byte events = EVENTS;
  do
  :: events == 0 -> break
  :: else ->
    events--;
    caller = _pid;
    calling = 1;
    if
    :: !let_go ->
      atomic { assert(!returned && !returned_inside); in_callback = 1 }
#ifdef INSIDE
      if
      :: LET_GO();
        returned_inside = 1
      :: skip
      fi;
#endif
      in_callback = 0
    :: let_go
    fi;
    calling = 0;
#ifndef M_NO_SECOND_LOOK
    if
    :: atomic { let_go -> asleep = 0 }
    :: !let_go
    fi
#endif
  od
}

#ifndef INSIDE
active proctype owner() {
  LET_GO();
  atomic { assert(!in_callback); returned = 1 }
}
#endif
