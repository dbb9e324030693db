/* The lock of an open gap: bus/internal/biased_lock.hpp.
 *
 * In the model     In the C++
 *   owner          BiasedLock::Owner, again and again: enter_by_bias, lock_as_owner
 *   visitor        BiasedLock::Visitor: lock_as_visitor
 *   buffer         the owner's processor, which may show a store to others as late as it likes, unless heavy_fence makes
 *                  it do so (`pending`). light_fence keeps the compiler from more than that, and no step of its own.
 *
 * All other loads and stores are steps, sequentially consistent: `biased` is written under the lock alone, and an owner
 * that sees an old `true` is what the fence is about.
 *
 * Asserted: never are both inside; both get through.
 */
#ifndef ENTRIES
#define ENTRIES 7
#endif
#ifndef VISITS
#define VISITS 2
#endif
#define IN_A_ROW 2

bit locked, biased, inside;
bit pending, pending_value; /* a store to `inside` that nobody has seen yet */
byte in_a_row;

/* Ghosts. */
bit owner_inside, visitor_inside;

inline SHOW() {
  if
  :: pending -> inside = pending_value; pending = 0
  :: else
  fi
}

inline SET_INSIDE(value) {
  atomic { SHOW(); pending_value = value; pending = 1 }
}

inline LOCK() {
  atomic { !locked -> locked = 1 }
}

active proctype buffer() {
end:
  do
  :: atomic { pending -> SHOW() }
  od
}

active proctype owner() {
  byte entries = ENTRIES;
  bit by_bias;
  do
  :: entries == 0 -> break
  :: entries > 0 ->
    entries--;
    if
    :: biased ->
      SET_INSIDE(1);
#ifdef M_NO_LOOK
      by_bias = 1
#else
      if
      :: biased -> by_bias = 1
      :: !biased -> SET_INSIDE(0)
      fi
#endif
    :: !biased
    fi;
    if
    :: !by_bias ->
      LOCK();
      in_a_row++;
      if
      :: in_a_row == IN_A_ROW -> biased = 1
      :: else
      fi
    :: else
    fi;
    atomic { assert(!visitor_inside); owner_inside = 1 }
    owner_inside = 0;
    if
    :: by_bias -> SET_INSIDE(0); by_bias = 0
    :: else -> locked = 0
    fi
  od
}

active proctype visitor() {
  byte visits = VISITS;
  do
  :: visits == 0 -> break
  :: visits > 0 ->
    visits--;
    LOCK();
    in_a_row = 0;
    if
    :: biased ->
      biased = 0;
#ifndef M_NO_FENCE
      atomic { SHOW() }
#endif
#ifndef M_NO_WAIT
      !inside
#endif
    :: !biased
    fi;
    atomic { assert(!owner_inside); visitor_inside = 1 }
    visitor_inside = 0;
    locked = 0
  od
}
