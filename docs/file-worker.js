// Search in pages that are opened as files: browsers start no worker from file://, so it runs in a hidden iframe.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.onload = () => {
        const inner = this.frame.contentWindow
        inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
        this.send = (data) => inner.dispatchEvent(new MessageEvent("message", { data }))
        this.waiting.forEach(this.send)
      }
      this.frame.srcdoc = `<script src="${new URL(url, location)}"></` + "script>"
      document.body.append(this.frame)
    }

    postMessage(data) {
      if (this.send) this.send(data)
      else this.waiting.push(data)
    }
  }
}
