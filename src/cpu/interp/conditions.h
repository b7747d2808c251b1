/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sixteen conditions of Jcc, SETcc and CMOVcc on ip->flags (SDM 1 B.1), as a table for handlers per condition. */
#ifndef XUNI_CPU_INTERP_CONDITIONS_H
#define XUNI_CPU_INTERP_CONDITIONS_H

#include "cpu/interp/internal.h"

/* X(name, mnemonic suffix, condition on f) in the order of the encoding */
#define CONDITIONS(X)                                                                                                  \
	X(o, O, f &FLAG_OF)                                                                                            \
	X(no, NO, !(f & FLAG_OF))                                                                                      \
	X(b, B, f &FLAG_CF)                                                                                            \
	X(nb, NB, !(f & FLAG_CF))                                                                                      \
	X(z, Z, f &FLAG_ZF)                                                                                            \
	X(nz, NZ, !(f & FLAG_ZF))                                                                                      \
	X(be, BE, f &(FLAG_CF | FLAG_ZF))                                                                              \
	X(nbe, NBE, !(f & (FLAG_CF | FLAG_ZF)))                                                                        \
	X(s, S, f &FLAG_SF)                                                                                            \
	X(ns, NS, !(f & FLAG_SF))                                                                                      \
	X(p, P, f &FLAG_PF)                                                                                            \
	X(np, NP, !(f & FLAG_PF))                                                                                      \
	X(l, L, (f >> 15 ^ f) & 1)                                                                                     \
	X(nl, NL, !((f >> 15 ^ f) & 1))                                                                                \
	X(le, LE, ((f >> 15 ^ f) & 1) || (f & FLAG_ZF))                                                                \
	X(nle, NLE, !((f >> 15 ^ f) & 1) && !(f & FLAG_ZF))

#define CONDITION_FUNCTION(name, mnemonic, test)                                                                       \
	ALWAYS_INLINE bool condition_##name(uint32_t f)                                                                \
	{                                                                                                              \
		return test;                                                                                           \
	}
CONDITIONS(CONDITION_FUNCTION)
#undef CONDITION_FUNCTION

#endif
