from django.http import HttpResponse
from django.urls import path


def page(request):
    return HttpResponse("Hello from Django\n")


urlpatterns = [path("", page)]
