/* A web server of one page: cc -o hello hello.c (or with -static), builder ./hello */
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    static const char page[] = "HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\nHello from C\n";
    const char *port = getenv("PORT");
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port ? atoi(port) : 3000) };
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 16))
        return 1;
    for (;;) {
        char request[4096];
        int client = accept(listener, 0, 0);

        if (client < 0)
            continue;
        if (read(client, request, sizeof request) > 0 && write(client, page, sizeof page - 1) < 0)
            return 1;
        close(client);
    }
}
