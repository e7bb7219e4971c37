/* demo_log.c -- a web access log that can be made again, line by line, at any time
 *
 * The model was counted in 10,000 lines of a real server: what is frequent there has the same
 * weight here, the long tail is put together from words. A line depends on its number only, so that
 * a producer can go on anywhere and a consumer can tell whether what arrived is what was sent. */
#include "demo_log.h"

#include <string.h>

#define PARTS 10000u  /* weights count in 10,000 lines */
#define CLIENTS 1753u /* different addresses */
#define LINES_PER_SECOND 12u
#define FIRST_DAY 17u /* of May 2015 */

struct choice {
    uint32_t weight;
    uint32_t bytes; /* a path's usual answer; 0 = "-" */
    const char *text;
    uint32_t status; /* of a path, 0 = 200 */
};

static const struct choice methods[] = {
    {9951, 0, "GET", 0}, {42, 0, "HEAD", 0}, {5, 0, "POST", 0}, {2, 0, "OPTIONS", 0}};

/* What is asked for. A '*' is a word, a '#' a number: the long tail. */
static const struct choice paths[] = {
    {807, 3638, "/favicon.ico", 0},
    {546, 4877, "/style2.css", 0},
    {538, 1015, "/reset.css", 0},
    {533, 6146, "/images/jordan-80.png", 0},
    {516, 52315, "/images/web/2009/banner.png", 0},
    {488, 14872, "/blog/tags/puppet?flav=rss20", 0},
    {224, 12292, "/projects/xdotool/", 0},
    {217, 29941, "/?flav=rss20", 0},
    {197, 37932, "/", 0},
    {180, 0, "/robots.txt", 0},
    {154, 50112, "/projects/xdotool/xdotool.xhtml", 0},
    {137, 32352, "/?flav=atom", 0},
    {135, 18848, "/articles/dynamic-dns-with-dhcp/", 0},
    {128, 175208, "/presentations/logstash-scale11x/images/ahhh___rage_face.png", 0},
    {101, 65748, "/images/googledotcom.png", 0},
    {77, 17147, "/blog/geekery/ssl-latency.html", 0},
    {61, 324, "/files/logstash/logstash-1.3.2-monolithic.jar", 404},
    {58, 16021, "/blog/tags/firefox?flav=rss20", 0},
    {55, 16543, "/articles/ssh-security/", 0},
    {51, 37269, "/presentations/logstash-puppetconf-2012/", 0},
    {47, 1693678, "/images/logstash_OSCON.pdf", 0},
    {46, 9316, "/blog/geekery/disabling-battery-in-ubuntu-vms.html?utm_source=feedburner", 0},
    {37, 10975, "/blog/geekery/xvfb-firefox.html", 0},
    {33, 47731, "/presentations/logstash-scale11x/images/logstash.png", 0},
    {32, 364, "/presentations/logstash-puppetconf-2012/images/office-space.gif", 404},
    {30, 18985, "/projects/keynav/", 0},
    {164, 336, "/files/*", 301},
    {120, 299, "/*/wp-#.php", 404},
    {1450, 61000, "/presentations/logstash-puppetconf-2012/images/*-*.png", 0},
    {480, 9800, "/presentations/logstash-monitorama-2013/plugin/*/*.js", 0},
    {230, 54239, "/presentations/*-#/", 0},
    {630, 11200, "/blog/geekery/*-*.html", 0},
    {380, 26300, "/blog/tags/*", 0},
    {290, 8400, "/blog/geekery/*-*-*.html?page=#", 0},
    {370, 24800, "/files/*/*-#.rpm", 0},
    {200, 14100, "/projects/*/*.xhtml", 0},
    {120, 15700, "/articles/*-*/", 0},
    {138, 4300, "/misc/*.#", 0},
};

static const struct choice referrers[] = {
    {4072, 0, "-", 0},
    {759, 0, "http://semicomplete.com/presentations/logstash-puppetconf-2012/", 0},
    {756, 0, "http://www.semicomplete.com/projects/xdotool/", 0},
    {506, 0, "http://semicomplete.com/presentations/logstash-scale11x/", 0},
    {435, 0, "http://www.semicomplete.com/articles/dynamic-dns-with-dhcp/", 0},
    {228, 0, "http://www.semicomplete.com/", 0},
    {200, 0, "http://www.semicomplete.com/style2.css", 0},
    {148, 0, "http://semicomplete.com/presentations/logstash-monitorama-2013/", 0},
    {144, 0, "http://www.semicomplete.com/blog/geekery/ssl-latency.html", 0},
    {115, 0, "http://www.semicomplete.com/blog/tags/puppet?flav=rss20", 0},
    {104, 0, "https://www.google.com/", 0},
    {700, 0, "http://www.semicomplete.com/blog/geekery/*-*.html", 0},
    {433, 0, "http://www.semicomplete.com/blog/tags/*", 0},
    {1400, 0, "http://www.google.com/url?sa=t&rct=j&q=*&source=web&cd=#&ved=0CDAQFjAA&url=*", 0},
};

#define WEBKIT "AppleWebKit/537.36 (KHTML, like Gecko) "
static const struct choice agents[] = {
    {1844, 0, "Mozilla/5.0 (Windows NT 6.1; WOW64) " WEBKIT "Chrome/32.0.1700.107 Safari/537.36",
     0},
    {869, 0, "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) " WEBKIT "Chrome/33.0.1750.91", 0},
    {668, 0, "Mozilla/5.0 (X11; Linux x86_64) " WEBKIT "Chrome/32.0.1700.107 Safari/537.36", 0},
    {475, 0, "Mozilla/5.0 (Windows NT 6.3; WOW64) " WEBKIT "Chrome/32.0.1700.107 Safari/537.36", 0},
    {664, 0, "UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/", 0},
    {696, 0, "Mozilla/5.0 (Windows NT 6.1; WOW64; rv:27.0) Gecko/20100101 Firefox/27.0", 0},
    {671, 0,
     "Mozilla/5.0 (iPhone; CPU iPhone OS 6_0 like Mac OS X) AppleWebKit/536.26 (KHTML, "
     "like Gecko) Version/6.0 Mobile/10A5376e Safari/8536.25 (compatible; Googlebot/2.1; "
     "+http://www.google.com/bot.html)",
     0},
    {537, 0, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 0},
    {665, 0, "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:27.0) Gecko/20100101 Firefox/27.0", 0},
    {498, 0, "Tiny Tiny RSS/1.11 (http://tt-rss.org/)", 0},
    {190, 0, "-", 0},
    {466, 0,
     "Mozilla/5.0 (compatible; archive.org_bot "
     "+http://www.archive.org/details/archive.org_bot)",
     0},
    {457, 0, "Mozilla/5.0 (compatible; Ezooms/1.0; help@moz.com)", 0},
    {400, 0, "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.7; rv:22.0) Gecko/20100101 Firefox/22.0",
     0},
    {300, 0, "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
     0},
    {200, 0, "msnbot/2.0b (+http://search.msn.com/msnbot.htm)", 0},
    {400, 0,
     "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.73.11 (KHTML, like "
     "Gecko) Version/7.0.1 Safari/537.73.11",
     0},
};

/* Statuses that come by chance, whatever is asked for. */
static const struct choice answers[] = {{9486, 0, "", 0},         {445, 0, " 304 -", 0},
                                        {45, 0, " 206 65536", 0}, {14, 0, " 200 -", 0},
                                        {5, 0, " 500 626", 0},    {5, 0, " 403 294", 0}};

static const char *const words[] = {
    "logstash", "kibana", "puppet",  "grok",   "xdotool", "latency", "ssl",    "dhcp",
    "java",     "ruby",   "python",  "search", "backup",  "debug",   "kernel", "shell",
    "mysql",    "nagios", "events",  "graph",  "pattern", "regex",   "sysadm", "vim",
    "fluent",   "redis",  "elastic", "queue",  "monitor", "metrics", "deploy", "tools"};

/* ---- Choosing ---- */
struct wheel {
    const struct choice *choices;
    size_t count;
    uint8_t slots[PARTS];
};

static struct wheel method_wheel, path_wheel, referrer_wheel, agent_wheel, answer_wheel;

static void make_wheel(struct wheel *wheel, const struct choice *choices, size_t count)
{
    size_t slot = 0;
    *wheel = (struct wheel){.choices = choices, .count = count};
    for (size_t i = 0; i < count; i++)
        for (uint32_t n = 0; n < choices[i].weight && slot < PARTS; n++)
            wheel->slots[slot++] = (uint8_t)i;
}

#define MAKE_WHEEL(wheel, choices)                                                                 \
    make_wheel(&(wheel), choices, sizeof(choices) / sizeof *(choices))

void demo_log_prepare(void)
{
    MAKE_WHEEL(method_wheel, methods);
    MAKE_WHEEL(path_wheel, paths);
    MAKE_WHEEL(referrer_wheel, referrers);
    MAKE_WHEEL(agent_wheel, agents);
    MAKE_WHEEL(answer_wheel, answers);
}

/* splitmix64 */
static uint64_t scramble(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint32_t chance(uint64_t *state, uint32_t below)
{
    *state = scramble(*state);
    return (uint32_t)((*state >> 32) * below >> 32);
}

static const struct choice *spin(const struct wheel *wheel, uint64_t *state)
{
    return &wheel->choices[wheel->slots[chance(state, PARTS)]];
}

/* ---- Writing ---- */
static char *put_text(char *out, const char *text)
{
    size_t size = strlen(text);
    memcpy(out, text, size);
    return out + size;
}

static char *put_number(char *out, uint32_t number, int digits)
{
    char text[10];
    int size = 0;
    while (number > 0 || size < digits) {
        text[size++] = (char)('0' + number % 10);
        number /= 10;
    }
    while (size > 0) *out++ = text[--size];
    return out;
}

static char *put_pattern(char *out, const char *pattern, uint64_t *state)
{
    for (size_t plain; *pattern != '\0'; pattern += plain) {
        plain = strcspn(pattern, "*#");
        memcpy(out, pattern, plain);
        out += plain;
        if (pattern[plain] == '\0') break;
        if (pattern[plain++] == '*')
            out = put_text(out, words[chance(state, sizeof words / sizeof *words)]);
        else
            out = put_number(out, chance(state, 40), 1);
    }
    return out;
}

/* A few clients ask for much: the first percent for a quarter of all. */
static char *put_client(char *out, uint64_t *state)
{
    uint64_t u = chance(state, 1u << 16);
    uint64_t bits = scramble((u * u >> 16) * u * CLIENTS >> 32);
    for (int i = 0; i < 4; i++) {
        if (i > 0) *out++ = '.';
        out = put_number(out, (uint32_t)(bits >> 8 * i & 0xff) % 223 + 1, 1);
    }
    return out;
}

static char *put_time(char *out, uint32_t line)
{
    uint32_t second = line / LINES_PER_SECOND;
    out = put_number(put_text(out, " - - ["), FIRST_DAY + second / 86400, 2);
    out = put_number(put_text(out, "/May/2015:"), second / 3600 % 24, 2);
    out = put_number(put_text(out, ":"), second / 60 % 60, 2);
    out = put_number(put_text(out, ":"), second % 60, 2);
    return put_text(out, " +0000] \"");
}

static char *put_answer(char *out, const struct choice *path, uint64_t *state)
{
    const struct choice *answer = spin(&answer_wheel, state);
    if (answer->text[0] != '\0') return put_text(out, answer->text);
    out = put_number(put_text(out, " "), path->status == 0 ? 200 : path->status, 3);
    if (path->bytes == 0) return put_text(out, " -");
    return put_number(put_text(out, " "), path->bytes, 1);
}

size_t demo_log_line(uint32_t server, uint32_t line, char *out, size_t *client_size)
{
    uint64_t state = scramble((uint64_t)server << 32 | line);
    char *end = put_client(out, &state);
    *client_size = (size_t)(end - out);
    end = put_text(put_time(end, line), spin(&method_wheel, &state)->text);
    const struct choice *path = spin(&path_wheel, &state);
    end = put_pattern(put_text(end, " "), path->text, &state);
    end = put_text(end, chance(&state, PARTS) < 9299 ? " HTTP/1.1\"" : " HTTP/1.0\"");
    end = put_answer(end, path, &state);
    end = put_pattern(put_text(end, " \""), spin(&referrer_wheel, &state)->text, &state);
    end = put_text(put_text(end, "\" \""), spin(&agent_wheel, &state)->text);
    *end++ = '"';
    return (size_t)(end - out);
}
