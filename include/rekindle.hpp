/* rekindle for C++17: owning handles, exceptions, strings and vectors. Header-only, over rekindle.h.
 *
 * Every object owns its handle, can be moved and cannot be copied. A call that fails throws rekindle::error. Objects
 * keep alive in the library what they need, so the order of destruction does not matter. Threads may do what rekindle.h
 * says; a second call that writes a model throws an error with REKINDLE_BUSY. An exception that is thrown in a callback
 * ends the call and comes out of it unchanged.
 */
#ifndef REKINDLE_HPP
#define REKINDLE_HPP

#include "rekindle/base.hpp"
#include "rekindle/chat.hpp"
#include "rekindle/context.hpp"
#include "rekindle/file.hpp"
#include "rekindle/generation.hpp"
#include "rekindle/grammar.hpp"
#include "rekindle/model.hpp"
#include "rekindle/plan.hpp"
#include "rekindle/plan_params.hpp"
#include "rekindle/reply.hpp"
#include "rekindle/sampler.hpp"
#include "rekindle/vocab.hpp"

#endif
