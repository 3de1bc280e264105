#include <hiredis/read.h>
#include <hiredis/hiredis.h>

/* hiredis 1.x parses the doubles and booleans of RESP3 whatever was negotiated, and where it has no function to make them it hands
   out a number in place of a pointer. Apus speaks RESP2, which has neither: a NULL makes the parser refuse them. */
#if HIREDIS_MAJOR >= 1
static void *chiredis_refuse_double(const redisReadTask *task, double value, char *text, size_t length) {
    (void)task; (void)value; (void)text; (void)length;
    return NULL;
}
static void *chiredis_refuse_bool(const redisReadTask *task, int value) {
    (void)task; (void)value;
    return NULL;
}
static inline void chiredis_refuse_resp3(redisReplyObjectFunctions *functions) {
    functions->createDouble = chiredis_refuse_double;
    functions->createBool = chiredis_refuse_bool;
}
#else
static inline void chiredis_refuse_resp3(redisReplyObjectFunctions *functions) { (void)functions; }
#endif
