// The time for which the page was visible since an item was shown.

let visibleMs = 0;
let visibleSince = 0;

export function startClock() {
  visibleMs = 0;
  visibleSince = document.hidden ? 0 : performance.now();
}

export function seconds() {
  return (visibleMs + (visibleSince ? performance.now() - visibleSince : 0)) / 1000;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden && visibleSince) {
    visibleMs += performance.now() - visibleSince;
    visibleSince = 0;
  } else if (!document.hidden) {
    visibleSince = performance.now();
  }
});
